# Landfall with OpenTofu: `docker build -t landfall .`. Both are built from source; image/root lists all that the image holds.
FROM golang:1.26-bookworm AS opentofu
WORKDIR /landfall
ENV LANDFALL_CACHE=/cache
COPY tests/testbed tests/testbed
COPY tests/tools/opentofu tests/tools/opentofu
RUN tests/testbed/testbed build opentofu && cp "$(tests/testbed/testbed path opentofu)/tofu" /tofu

FROM rust:1.95-bookworm AS landfall
WORKDIR /landfall
COPY Cargo.toml Cargo.lock build.rs ./
COPY manifests manifests
COPY migrations migrations
COPY src src
RUN cargo build --release --locked
COPY image image
COPY --from=opentofu /tofu /tofu
RUN image/root /image target/release/landfall /tofu

FROM scratch
COPY --from=landfall /image /
ENV PATH=/usr/local/bin
WORKDIR /
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/landfall"]
