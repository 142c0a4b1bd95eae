# The binary alone, which `CGO_ENABLED=0 ./task build` makes static. Not built where it was written.
FROM scratch
COPY netlyra /netlyra
ENTRYPOINT ["/netlyra"]
