"""Where the instances of the other services are: fixed addresses, a registry in NATS, DNS, or Kubernetes."""
