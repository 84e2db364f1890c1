# The pipeline with Airflow and Celery; docker-compose.yml runs each of its services from this image.
FROM python:3.12-slim

ENV PYTHONUNBUFFERED=1 \
    UV_PYTHON_DOWNLOADS=never \
    UV_LINK_MODE=copy \
    UV_COMPILE_BYTECODE=1 \
    PATH=/app/.venv/bin:$PATH

RUN pip install --no-cache-dir "uv>=0.9,<1"

# What is installed changes seldom: a layer of its own.
WORKDIR /app
COPY pyproject.toml uv.lock README.md ./
RUN uv sync --frozen --no-dev --extra celery --no-install-project --no-cache

COPY plugins ./plugins
COPY dags ./dags
COPY dbt_project ./dbt_project
COPY expectations ./expectations
COPY sources ./sources
RUN uv sync --frozen --no-dev --extra celery --no-cache

# Volumes take their owner from these folders when they are made.
RUN useradd --uid 1000 --create-home arrears \
    && mkdir --parents /var/lib/arrears /exports /drops \
    && chown arrears:arrears /var/lib/arrears /exports
USER arrears

CMD ["arrears", "--help"]
