# Runs finished models; trains none.
#
#     docker build -t textrnn .
#     docker run --rm -v "$PWD/runs:/models:ro" textrnn generate /models/my --prompt "Once "

FROM python:3.13-slim AS build
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --constraint constraints.txt --wheel-dir /wheels .

FROM python:3.13-slim
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links /wheels textrnn
RUN useradd --create-home textrnn
USER textrnn
WORKDIR /home/textrnn
ENTRYPOINT ["textrnn"]
CMD ["--help"]
