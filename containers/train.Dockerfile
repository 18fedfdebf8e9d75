# Trains, evaluates, explores and exports, on the CPU, or on GPUs with --build-arg EXTRAS=[gpu]:
#   docker build -f containers/train.Dockerfile --build-arg VERSION=0.1.0 -t tfvae-train .
#   docker run --rm -v "$PWD:/work" --user "$(id -u):$(id -g)" tfvae-train train --latent_dim=2
FROM python:3.13-slim AS wheel
WORKDIR /source
COPY . .
# git's history is not in the context, so the version is handed in
ARG VERSION=0.1.0.dev0
RUN SETUPTOOLS_SCM_PRETEND_VERSION="$VERSION" pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.13-slim
ARG EXTRAS=[tables]
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    --mount=type=bind,source=requirements-dev.lock,target=/requirements.lock \
    pip install --no-cache-dir --constraint /requirements.lock "$(echo /wheels/*.whl)$EXTRAS"
RUN useradd --create-home --uid 10001 tfvae && install --directory --owner=tfvae /work
USER 10001
# a user of another number, as --user gives, has no home to write to
ENV HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib PYTHONUNBUFFERED=1
WORKDIR /work
ENTRYPOINT ["tfvae"]
CMD ["--help"]
