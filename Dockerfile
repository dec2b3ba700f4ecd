# One static binary and the two folders it writes to; no shell, no package manager.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# What --version says: there is no checkout in here. docker build --build-arg RELEASE=$(git describe --always) .
ARG RELEASE=
RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w -X main.release=$RELEASE" -o /out/doorward ./cmd/doorward \
 && mkdir -m 0700 /out/data && mkdir -m 1777 /out/tmp

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build --chown=65532:65532 /out/data /data
COPY --from=build /out/tmp /tmp
COPY --from=build /out/doorward /doorward
# Relative paths count from here: the SQLite database and the master secret are in /data.
WORKDIR /
USER 65532:65532
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=3 CMD ["/doorward", "health"]
ENTRYPOINT ["/doorward"]
CMD ["serve"]
