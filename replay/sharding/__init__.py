"""One huge trace: step 1 by address on many workers, one pass of the policies over what it comes to."""

from replay.sharding.sharded import replay_sharded

__all__ = ["replay_sharded"]
