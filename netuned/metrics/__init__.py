"""What Prometheus collects of netuned, by its own library; see docs/fleet.md."""

NO_CLIENT = (
    "metrics need prometheus_client, which is not installed: `apt install "
    "python3-prometheus-client`, or `pip install 'netuned[metrics]'` where netuned came from there"
)
LIBRARY = "prometheus_client"
