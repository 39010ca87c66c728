# One image for the producer and the worker; the command chooses. `docker compose up --build` uses it.

FROM node:22-bookworm-slim AS page
WORKDIR /src/web
COPY web/package.json web/package-lock.json web/.npmrc ./
RUN npm ci --no-audit --no-fund
COPY web ./
RUN npm run build

FROM python:3.13-slim-bookworm AS package
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /venv
WORKDIR /src
COPY locks/runtime.txt locks/
RUN /venv/bin/pip install --require-hashes -r locks/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY core core
COPY services services
COPY workqueue workqueue
COPY --from=page /src/services/producer/static services/producer/static
RUN /venv/bin/pip install --no-deps --no-build-isolation . \
 && /venv/bin/pip uninstall --yes pip

FROM python:3.13-slim-bookworm
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin workqueue
COPY --from=package /venv /venv
ENV PATH=/venv/bin:$PATH HOST=0.0.0.0 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER workqueue
EXPOSE 8080 8081
# No shell in between: SIGTERM reaches the process, which gives back what it does not finish.
ENTRYPOINT ["workqueue"]
CMD ["producer"]
