# t2s-rt for a server. UNBUILT: no Docker daemon was at hand where it was written. Its files, extras
# and commands are checked by tests/deploy/test_dockerfile.py; the steps of the CPU variant were run
# by hand in a new virtual environment (docs/deploy.md, "What is proven where").
#
#   docker build -t t2s-rt .                              CUDA 13; the host's driver must be 580 or later
#   docker build -t t2s-rt:cpu --build-arg VARIANT=cpu .  no GPU
#
# The images that it starts from, by name: an air-gapped site has them under names of its own.
ARG VARIANT=cuda
ARG PYTHON_IMAGE=python:3.12-slim-bookworm
ARG CUDA_IMAGE=nvidia/cuda:13.0.1-cudnn-runtime-ubuntu24.04

FROM ${PYTHON_IMAGE} AS wheel
WORKDIR /src
COPY pyproject.toml README.md CHANGELOG.md CONTRIBUTING.md LICENSE NOTICE ./
COPY runtime runtime
COPY export export
COPY engines engines
COPY calibration calibration
COPY bench bench
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM ${PYTHON_IMAGE} AS cpu
ENV T2S_EXTRA=cpu

FROM ${CUDA_IMAGE} AS cuda
ENV T2S_EXTRA=cuda
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*

FROM ${VARIANT} AS runtime
COPY --from=wheel /wheels /wheels
RUN python3 -m venv /opt/t2s-rt \
    && /opt/t2s-rt/bin/pip install --no-cache-dir "$(ls /wheels/t2s_rt-*.whl)[$T2S_EXTRA]" \
    && rm -rf /wheels
COPY docs/deploy/t2s-rt-watch /opt/t2s-rt/bin/t2s-rt-watch
RUN groupadd --system t2s \
    && useradd --system --gid t2s --home-dir /var/lib/t2s-rt --create-home t2s \
    && mkdir -p /var/cache/t2s-rt \
    && chown t2s:t2s /var/cache/t2s-rt
ENV PATH=/opt/t2s-rt/bin:$PATH T2S_CACHE=/var/cache/t2s-rt PYTHONUNBUFFERED=1
USER t2s
WORKDIR /var/lib/t2s-rt
# the CPU path is really run here; a build whose image cannot work stops
RUN t2s-rt doctor
ENTRYPOINT ["t2s-rt"]
CMD ["--help"]
