"""The table as a CDK construct in Python."""

from __future__ import annotations

from .description import Key, Table
from .policies import FUNCTION_ACTIONS, OPERATOR_ACTIONS

_TEMPLATE = '''\
"""durably's table as a CDK construct (aws-cdk-lib 2), and what the function and its operators may do with it."""

from aws_cdk import RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from constructs import Construct

ACTIONS = [
    {function_actions}
]
OPERATOR_ACTIONS = [
    {operator_actions}
]


class DurablyTable(Construct):
    """`table.grant_journal(function)` for each durable function; DURABLY_STORE is `table.store_url`."""

    def __init__(self, scope: Construct, id: str, *, table_name: str = "{name}") -> None:
        super().__init__(scope, id)
        self.table = dynamodb.Table(
            self,
            "Table",
            table_name=table_name,
            {keys}
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            time_to_live_attribute="{ttl}",
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            # The journal of what is under way: a deleted table is work that is lost.
            removal_policy=RemovalPolicy.RETAIN,
            deletion_protection=True,
        )
        self.table.add_global_secondary_index(
            index_name="{index}",
            {index_keys}
            projection_type=dynamodb.ProjectionType.INCLUDE,
            non_key_attributes=[{attributes}],
        )
        self.store_url = f"dynamodb://{{self.table.table_name}}"

    def grant_journal(self, grantee: iam.IGrantable) -> None:
        """Let a function run under durably, with nothing more than that needs."""
        self._grant(grantee, ACTIONS, [self.table.table_arn])

    def grant_operator(self, grantee: iam.IGrantable) -> None:
        """Let the durably command line list, act and purge. Redriving needs lambda:InvokeFunction on the functions, too."""
        self._grant(grantee, OPERATOR_ACTIONS, [self.table.table_arn])
        self._grant(grantee, ["dynamodb:Query"], [f"{{self.table.table_arn}}/index/{index}"])

    @staticmethod
    def _grant(grantee: iam.IGrantable, actions: list[str], resources: list[str]) -> None:
        iam.Grant.add_to_principal(grantee=grantee, actions=actions, resource_arns=resources)
'''


def cdk(table: Table) -> str:
    """A Python module with the construct."""
    return _TEMPLATE.format(
        name=table.name,
        keys=_keys(table.keys),
        ttl=table.ttl,
        index=table.listing.name,
        index_keys=_keys(table.listing.keys),
        attributes=_listed(table.listing.attributes),
        function_actions=_lines(FUNCTION_ACTIONS),
        operator_actions=_lines(OPERATOR_ACTIONS),
    )


def _keys(keys: tuple[Key, ...]) -> str:
    kinds = {"S": "STRING", "N": "NUMBER"}
    roles = {"HASH": "partition_key", "RANGE": "sort_key"}
    lines = [
        f'{roles[key.role]}=dynamodb.Attribute(name="{key.name}", type=dynamodb.AttributeType.{kinds[key.type]}),'
        for key in keys
    ]
    return ("\n" + " " * 12).join(lines)


def _listed(texts: tuple[str, ...]) -> str:
    return ", ".join(f'"{text}"' for text in texts)


def _lines(texts: tuple[str, ...]) -> str:
    return "\n    ".join(f'"{text}",' for text in texts)
