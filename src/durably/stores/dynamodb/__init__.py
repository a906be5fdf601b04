"""The store in one DynamoDB table of the user's own. boto3 is imported when it is first used."""

from .store import DynamoDBStore

__all__ = ["DynamoDBStore"]
