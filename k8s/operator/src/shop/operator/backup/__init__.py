"""Backup and restore: the chart's scripts on this machine, buckets of S3, and a backup right now on a cluster."""
