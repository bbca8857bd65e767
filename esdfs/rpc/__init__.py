"""The one door to gRPC and to generated protobuf code."""
