"""Pictures of dashboards: drawn from a dashboard's own JSON and what a Prometheus answers to its queries, as SVG.

They are close to what Grafana shows, for where no Grafana runs: the documents, and the page of a shop on this machine.
"""
