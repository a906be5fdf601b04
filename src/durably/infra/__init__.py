"""The table and its permissions as text: CloudFormation, Terraform, CDK, IAM."""
