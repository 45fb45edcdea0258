"""What was said, kept: conversations and responses in SQLite or PostgreSQL, each its owner's alone."""

from fairlead_serve.conversations.keeper import Keeper
from fairlead_serve.conversations.records import Conversation, Item, Page, StoredResponse
from fairlead_serve.conversations.store import Store

__all__ = ["Conversation", "Item", "Keeper", "Page", "Store", "StoredResponse"]
