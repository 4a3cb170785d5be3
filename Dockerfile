# Three images from one file: `api` carries no model and no decoder, `worker` both, `trainer` what
# learning needs besides. PyTorch from the
# package index brings what it needs for NVIDIA devices and runs without one as well.
#
#     docker build --target api -t deepsweep-api .
#     docker build --target worker -t deepsweep-worker .
#     docker build --target trainer -t deepsweep-trainer .

FROM python:3.12-slim AS base
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1
# What decoders and drivers write goes to volumes; nothing in the image is writable for the service.
RUN groupadd --gid 10001 deepsweep \
    && useradd --uid 10001 --gid deepsweep --no-create-home deepsweep \
    && install -d -o deepsweep -g deepsweep /var/lib/deepsweep
ENV DEEPSWEEP_DATA_DIR=/var/lib/deepsweep
WORKDIR /src

FROM base AS source
COPY pyproject.toml constraints.txt README.md LICENSE deepsweep.py ./
COPY core core
COPY db db
COPY api api
COPY worker worker
COPY detector detector
COPY training training
COPY cli cli

FROM base AS api
RUN --mount=from=source,source=/src,target=/src,rw \
    pip install --constraint constraints.txt '.[api]'
USER deepsweep
ENTRYPOINT ["deepsweep"]
CMD ["api"]

FROM base AS trainer
RUN --mount=from=source,source=/src,target=/src,rw \
    pip install --constraint constraints.txt '.[detector,openvino,training]'
ENV OMP_NUM_THREADS=1 \
    MPLBACKEND=Agg
USER deepsweep
ENTRYPOINT ["deepsweep"]
CMD ["worker", "--queues", "train"]

FROM base AS worker
RUN --mount=from=source,source=/src,target=/src,rw \
    pip install --constraint constraints.txt '.[detector,openvino]'
# One thread per process on shared cores; decoders run in processes of their own.
ENV OMP_NUM_THREADS=1
USER deepsweep
ENTRYPOINT ["deepsweep"]
CMD ["worker"]
