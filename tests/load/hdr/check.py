"""check.py HDR_EXCHANGE NODE_MODULES: runs check.cjs if there is what it needs, else skips (77)."""

import os
import shutil
import subprocess
import sys

exchange, modules = sys.argv[1:]
here = os.path.dirname(os.path.abspath(__file__))
if not shutil.which("node") or not os.path.isdir(os.path.join(modules, "hdr-histogram-js")):
    print("SKIP: needs node and the npm package hdr-histogram-js: ./test --full fetches them")
    sys.exit(77)
environment = dict(os.environ, NODE_PATH=modules)
sys.exit(subprocess.run(["node", os.path.join(here, "check.cjs"), exchange], timeout=100,
                        env=environment).returncode)
