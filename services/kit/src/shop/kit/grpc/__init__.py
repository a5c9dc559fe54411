"""A gRPC server beside a service's HTTP one, and the client for it. Needs the extra ``shop-kit[grpc]``.

Nothing else of the kit imports this package, so services without gRPC do not load its libraries.
"""

from shop.kit.grpc.client import GrpcClient
from shop.kit.grpc.server import GrpcServer
from shop.kit.grpc.settings import GrpcSettings

__all__ = ["GrpcClient", "GrpcServer", "GrpcSettings"]
