# Rightsize as a hosted instance, small, without root and with nothing to write but /data and /tmp.
#   docker build -t rightsize:0.1.0 .
#   docker run --rm -p 127.0.0.1:8501:8501 --read-only --tmpfs /tmp -v rightsize:/data rightsize:0.1.0
# deploy/README.md has the rest. Tags name a release of Python and of Debian; a new build brings their security fixes.

FROM node:22-bookworm-slim AS node

FROM python:3.11-slim-bookworm AS build
COPY --from=node /usr/local/bin/node /usr/local/bin/node
COPY --from=node /usr/local/lib/node_modules/npm /usr/local/lib/node_modules/npm
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm
WORKDIR /src
COPY . .
# Packages bring their own tests along, 70 MB of them.
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv --without-pip /venv \
    && pip --python /venv/bin/python install -c requirements.txt ".[auth,postgres]" \
    && find /venv -type d -name tests -prune -exec rm -rf {} +
# wllama, which runs models in the visitor's browser: npm's package, checked against the pinned sums.
RUN /venv/bin/recommender browser-assets
# The catalog beside its CSV files: an instance then starts without building it, even where it can write nothing.
RUN RIGHTSIZE_HOME="$(/venv/bin/python -I -c 'from recommender import paths; print(paths.catalog_dir())')" \
    /venv/bin/recommender catalog build

FROM python:3.11-slim-bookworm
# libgomp1 is the one library that a wheel (llama.cpp's) expects of the system. Debian keeps one version a release.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --no-log-init --no-create-home --home-dir /data rightsize \
    && install -d -o 1000 -g 1000 /data
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH \
    HOME=/data \
    HF_HOME=/data/hub \
    RIGHTSIZE_HOME=/data \
    RIGHTSIZE_HOST=0.0.0.0 \
    RIGHTSIZE_PORT=8501 \
    RIGHTSIZE_BROWSER=false \
    RIGHTSIZE_DOOR=hosted
USER 1000:1000
# Streamlit reads .streamlit/secrets.toml (sign-in) from here; nothing of the app can write it.
WORKDIR /srv
VOLUME /data
EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os; from http.client import HTTPConnection as C; c = C('127.0.0.1', int(os.environ['RIGHTSIZE_PORT']), timeout=4); c.request('GET', '/api/health'); raise SystemExit(c.getresponse().status != 200)"]
CMD ["recommender", "serve"]
