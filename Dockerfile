# The image holds the static program and nothing else: no shell, no user database.
FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY . .
RUN cp "$(scripts/build-static.sh)" /kvcache

FROM scratch
COPY --from=build /kvcache /kvcache
USER 65532:65532
ENV KVCACHE_LISTEN=0.0.0.0:7171
EXPOSE 7171
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD ["/kvcache", "health"]
ENTRYPOINT ["/kvcache"]
CMD ["serve"]
