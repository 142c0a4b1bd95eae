# The Python engine with its pinned requirements. Not built where it was written.
FROM python:3.13-slim
COPY engine /engine
RUN pip install --no-cache-dir --require-hashes -r /engine/requirements.txt && pip install --no-cache-dir --no-deps /engine
ENTRYPOINT ["netlyra-engine"]
