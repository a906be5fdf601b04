"""The table as a CloudFormation template, which SAM takes as it is."""

from __future__ import annotations

from .description import Key, Table
from .policies import FUNCTION_ACTIONS, OPERATOR_ACTIONS

_TEMPLATE = """\
AWSTemplateFormatVersion: "2010-09-09"
Description: durably's table, and the policies of the function that writes to it and of the people who look after it.

Resources:
  DurablyTable:
    Type: AWS::DynamoDB::Table
    # The journal of what is under way: a deleted table is work that is lost.
    DeletionPolicy: Retain
    UpdateReplacePolicy: Retain
    Properties:
      TableName: "{name}"
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions:
{types}
      KeySchema:
{keys}
      GlobalSecondaryIndexes:
        - IndexName: {index}
          KeySchema:
{index_keys}
          Projection:
            ProjectionType: INCLUDE
            NonKeyAttributes: [{attributes}]
      TimeToLiveSpecification:
        AttributeName: {ttl}
        Enabled: true
      PointInTimeRecoverySpecification:
        PointInTimeRecoveryEnabled: true

  DurablyFunctionPolicy:
    Type: AWS::IAM::ManagedPolicy
    Properties:
      Description: What a function needs that runs under durably. Attach it to the function's role.
      PolicyDocument:
        Version: "2012-10-17"
        Statement:
          - Sid: DurablyJournal
            Effect: Allow
            Action:
{function_actions}
            Resource: !GetAtt DurablyTable.Arn

  DurablyOperatorPolicy:
    Type: AWS::IAM::ManagedPolicy
    Properties:
      Description: What the durably command line needs, but for lambda:InvokeFunction on the functions to be redriven.
      PolicyDocument:
        Version: "2012-10-17"
        Statement:
          - Sid: DurablyJournal
            Effect: Allow
            Action:
{operator_actions}
            Resource: !GetAtt DurablyTable.Arn
          - Sid: DurablyListing
            Effect: Allow
            Action: dynamodb:Query
            Resource: !Sub "${{DurablyTable.Arn}}/index/{index}"

Outputs:
  DurablyStore:
    Description: Set this as DURABLY_STORE on the function.
    Value: !Sub "dynamodb://${{DurablyTable}}"
"""


def cloudformation(table: Table) -> str:
    """A template with the table and a policy each for the function and for operators."""
    return _TEMPLATE.format(
        name=table.name,
        types="\n".join(f"        - {{AttributeName: {name}, AttributeType: {kind}}}" for name, kind in table.types),
        keys=_keys(table.keys, 8),
        index=table.listing.name,
        index_keys=_keys(table.listing.keys, 12),
        attributes=", ".join(table.listing.attributes),
        ttl=table.ttl,
        function_actions=_actions(FUNCTION_ACTIONS),
        operator_actions=_actions(OPERATOR_ACTIONS),
    )


def _keys(keys: tuple[Key, ...], indent: int) -> str:
    return "\n".join(f"{' ' * indent}- {{AttributeName: {key.name}, KeyType: {key.role}}}" for key in keys)


def _actions(actions: tuple[str, ...]) -> str:
    return "\n".join(f"              - {action}" for action in actions)
