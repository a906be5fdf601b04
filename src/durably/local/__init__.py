"""Lambda on your desk: a handler in the real awslambdaric, against a Runtime API server of ours."""
