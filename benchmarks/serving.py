"""tfvae.serve under load: python benchmarks/serving.py, on an idle machine, with wrk; writes into docs/serving.md.

A VAE of 784-512-2, client and server on the loopback: requests of 1 and 64 rows at 1, 8 and 32 connections, 5 s each;
then 8 connections while new versions appear. A bare probe of Python's speed tells how much of the machine it had.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from page import write

from tfvae.runtime.tensorflow import import_tensorflow

import_tensorflow()

from tfvae.config import Config  # noqa: E402
from tfvae.core.making import make_vae  # noqa: E402
from tfvae.serving import saved_model  # noqa: E402

SECONDS, CONNECTIONS, ROWS = 5, (1, 8, 32), (1, 64)
SCRIPT = """
wrk.method, wrk.body = "POST", '%s'
wrk.headers["Content-Type"] = "application/json"
done = function(summary, latency)
  local e, p50, p99 = summary.errors, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3
  local errors = e.connect + e.read + e.write + e.status + e.timeout
  io.write(string.format("\\n%%d %%d %%f %%f %%f\\n", summary.requests, errors, summary.duration / 1e6, p50, p99))
end
"""


def load(url: str, rows: int, connections: int, seconds: int, folder: Path) -> tuple[int, int, float, float, float]:
    """(requests, errors, seconds, p50 ms, p99 ms)."""
    script = folder / "load.lua"
    script.write_text(SCRIPT % json.dumps({"instances": [[0.1, -0.2]] * rows}))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout=10s", "-s", str(script), f"{url}:predict"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 30)
    requests, errors, duration, p50, p99 = done.stdout.split()[-5:]
    return int(requests), int(errors), float(duration), float(p50), float(p99)


def cpu_seconds(process: subprocess.Popen) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def share() -> float:
    """The CPU time that a loop of a second was given: 1 on an idle machine."""
    start, used = time.perf_counter(), time.process_time()
    while time.perf_counter() < start + 1:
        pass
    return (time.process_time() - used) / (time.perf_counter() - start)


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch) / "vae"
        vae = make_vae(Config(latent_dim=2), (28, 28, 1))
        saved_model.export_models([saved_model.decoder_model(vae, base)])
        server = subprocess.Popen(
            [sys.executable, "-m", "tfvae.serve", str(base), "--port=0"], stdout=subprocess.PIPE, text=True
        )
        try:
            url = next(line.split()[-1] for line in server.stdout if "http://" in line)
            text = measure(url, server, base)
        finally:
            server.terminate()
            server.communicate()
    write("serving", "load", text.rstrip("\n"))


def measure(url: str, server: subprocess.Popen, base: Path) -> str:
    load(url, 1, 8, 2, base.parent)  # warm
    lines = ["| rows | connections | requests/s | images/s | p50 ms | p99 ms | errors | CPU ms/request |\n"]
    lines.append("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n")
    given, loads = share(), os.getloadavg()[0]
    for rows in ROWS:
        for connections in CONNECTIONS:
            used = cpu_seconds(server)
            n, errors, seconds, p50, p99 = load(url, rows, connections, SECONDS, base.parent)
            used = (cpu_seconds(server) - used) / n * 1e3
            line = f"{n / seconds:,.0f} | {n * rows / seconds:,.0f} | {p50:.2f} | {p99:.2f} | {errors} | {used:.2f}"
            lines.append(f"| {rows} | {connections} | {line} |\n")
            print(lines[-1], end="", flush=True)

    def publish() -> None:
        for version in range(2, 7):
            time.sleep(1.5)
            shutil.copytree(base / "1", base / f".{version}")
            os.rename(base / f".{version}", base / str(version))

    publisher = threading.Thread(target=publish)
    publisher.start()
    n, errors, seconds, p50, p99 = load(url, 1, 8, 10, base.parent)
    publisher.join()
    given = (given + share()) / 2
    lines.append(
        f"\nWith five new versions within 10 s, at 8 connections: {n:,} requests, {errors} errors, {n / seconds:,.0f} "
        f"a second, p50 {p50:.2f} ms, p99 {p99:.2f} ms.\n\n{os.cpu_count()} cores, shared by server and wrk; "
        f"load average before it {loads:.1f}; a loop of one thread was given {given:.0%} of a core.\n"
    )
    print(lines[-1])
    return "".join(lines)


if __name__ == "__main__":
    main()
