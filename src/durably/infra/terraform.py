"""The table as Terraform (and OpenTofu) text."""

from __future__ import annotations

from .description import Table
from .policies import FUNCTION_ACTIONS, OPERATOR_ACTIONS

_TEMPLATE = """\
# durably's table, and the policies of the function that writes to it and of the people who look after it.

resource "aws_dynamodb_table" "durably" {{
  name         = "{name}"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "{hash}"
  range_key    = "{range}"

  # The journal of what is under way: a deleted table is work that is lost.
  deletion_protection_enabled = true

{types}

  global_secondary_index {{
    name               = "{index}"
    hash_key           = "{index_hash}"
    range_key          = "{index_range}"
    projection_type    = "INCLUDE"
    non_key_attributes = [{attributes}]
  }}

  ttl {{
    attribute_name = "{ttl}"
    enabled        = true
  }}

  point_in_time_recovery {{
    enabled = true
  }}
}}

# Attach it to the function's role.
data "aws_iam_policy_document" "durably_function" {{
  statement {{
    sid       = "DurablyJournal"
    actions   = [{function_actions}]
    resources = [aws_dynamodb_table.durably.arn]
  }}
}}

# What the durably command line needs, but for lambda:InvokeFunction on the functions to be redriven.
data "aws_iam_policy_document" "durably_operator" {{
  statement {{
    sid       = "DurablyJournal"
    actions   = [{operator_actions}]
    resources = [aws_dynamodb_table.durably.arn]
  }}

  statement {{
    sid       = "DurablyListing"
    actions   = ["dynamodb:Query"]
    resources = ["${{aws_dynamodb_table.durably.arn}}/index/{index}"]
  }}
}}

# Set this as DURABLY_STORE on the function.
output "durably_store" {{
  value = "dynamodb://${{aws_dynamodb_table.durably.name}}"
}}
"""


def terraform(table: Table) -> str:
    """The table and a policy document each for the function and for operators."""
    return _TEMPLATE.format(
        name=table.name,
        hash=table.keys[0].name,
        range=table.keys[1].name,
        types="\n\n".join(_attribute(name, kind) for name, kind in table.types),
        index=table.listing.name,
        index_hash=table.listing.keys[0].name,
        index_range=table.listing.keys[1].name,
        attributes=_listed(table.listing.attributes),
        ttl=table.ttl,
        function_actions=_listed(FUNCTION_ACTIONS),
        operator_actions=_listed(OPERATOR_ACTIONS),
    )


def _attribute(name: str, kind: str) -> str:
    return f'  attribute {{\n    name = "{name}"\n    type = "{kind}"\n  }}'


def _listed(texts: tuple[str, ...]) -> str:
    return ", ".join(f'"{text}"' for text in texts)
