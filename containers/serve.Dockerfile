# Serves an export by TensorFlow Serving's REST contract (docs/serving.md):
#   docker build -f containers/serve.Dockerfile --build-arg VERSION=0.1.0 -t tfvae-serve .
#   docker run --rm -p 8501:8501 -v "$PWD/saved_models:/models:ro" -e MODEL_NAME=NAME tfvae-serve [flags]
FROM python:3.13-slim AS packages
WORKDIR /source
COPY . .
# git's history is not in the context, so the version is handed in
ARG VERSION=0.1.0.dev0
# The server takes TensorFlow's shared libraries and protocol buffers alone: neither its Python nor its headers, and
# nothing of what training needs. That is 1.4 GB in the place of 2.7.
RUN SETUPTOOLS_SCM_PRETEND_VERSION="$VERSION" pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
    && pip install --no-cache-dir --no-deps --target /packages \
        --constraint requirements-dev.lock tensorflow /wheels/*.whl \
    && pip install --no-cache-dir --target /packages --constraint requirements-dev.lock \
        absl-py fastapi httptools numpy orjson protobuf uvicorn uvloop \
    && rm -r /packages/tensorflow/include /packages/tensorflow/python

FROM python:3.13-slim
COPY --from=packages /packages /packages
RUN useradd --no-create-home --uid 10001 tfvae
USER 10001
ENV PYTHONPATH=/packages PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
EXPOSE 8501
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8501/healthz', timeout=2)"]
ENV MODEL_NAME=model
# it asks nobody who they are: outside of this machine it belongs behind a proxy that does
ENTRYPOINT ["sh", "-c", "exec python -m tfvae.serve \"/models/$MODEL_NAME\" --host=0.0.0.0 \"$@\"", "tfvae.serve"]
