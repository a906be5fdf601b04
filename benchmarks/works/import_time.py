"""How long one import takes in a fresh process. `import_time.py MODULE [MODULE_BEFORE]`; prints milliseconds."""

import sys
import time

if len(sys.argv) > 2:
    __import__(sys.argv[2])
began = time.perf_counter()
__import__(sys.argv[1])
print((time.perf_counter() - began) * 1000)
