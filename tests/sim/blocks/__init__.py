"""The block manager against hundreds of DataNodes in simulated time."""
