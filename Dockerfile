# syntax=docker/dockerfile:1
#
# docker build -t gristmill .                             the server alone, with the functions that are built in
# docker build -t gristmill:python --target python .      with Python and the shim, for functions of your own
#
# Both listen on 0.0.0.0:8080, keep their data in /data, run as user 65532, and want a token:
# docker run -p 127.0.0.1:8080:8080 -v gristmill:/data -e GRISTMILL_TOKEN="$(openssl rand -hex 32)" gristmill
#
# docs/container.md says the rest.

ARG RUST_IMAGE=docker.io/library/rust:1.95-slim-bookworm
ARG PYTHON_IMAGE=docker.io/library/python:3.13-slim-bookworm

# The binary: static, for the architecture of the platform that is built for.
FROM ${RUST_IMAGE} AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target,sharing=locked \
    target="$(uname -m)-unknown-linux-gnu" \
    && RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked --bin gristmill --target "$target" \
    && install -D -t /image "target/$target/release/gristmill" \
    && install -D -m 644 -t /image/etc/gristmill docker/gristmill.toml \
    && install -d -m 1777 /image/tmp \
    && install -d -o 65532 -g 65532 /image/data

# Python, and `import gristmill` for whoever runs it.
FROM ${PYTHON_IMAGE} AS python
RUN --mount=type=bind,source=workers/python,target=/mnt \
    install -D -m 644 -t "$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" /mnt/gristmill.py
COPY --from=build /image/gristmill /gristmill
COPY --from=build /image/etc/gristmill /etc/gristmill
COPY --from=build --chown=65532:65532 /image/data /data
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="gristmill, with Python" \
      org.opencontainers.image.description="Pool.map over HTTP, for any language, that loses nothing." \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
ENV GRISTMILL_LISTEN=0.0.0.0:8080 GRISTMILL_DATA_DIR=/data GRISTMILL_CONFIG=/etc/gristmill/gristmill.toml
VOLUME /data
EXPOSE 8080
USER 65532:65532
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/gristmill", "health"]
ENTRYPOINT ["/gristmill"]
CMD ["serve"]

# The server alone: nothing else is in it, so nothing else needs an update. It is last, as what a build without a target makes.
FROM scratch AS server
COPY --from=build /image/ /
COPY --from=build --chown=65532:65532 /image/data /data
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="gristmill" \
      org.opencontainers.image.description="Pool.map over HTTP, for any language, that loses nothing." \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
ENV GRISTMILL_LISTEN=0.0.0.0:8080 GRISTMILL_DATA_DIR=/data GRISTMILL_CONFIG=/etc/gristmill/gristmill.toml
VOLUME /data
EXPOSE 8080
USER 65532:65532
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/gristmill", "health"]
ENTRYPOINT ["/gristmill"]
CMD ["serve"]
