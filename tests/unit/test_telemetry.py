import json
import subprocess
import sys


def test_logs_go_to_stderr_as_json_lines_above_their_level_with_plain_tracebacks() -> None:
    program = """
import structlog
from esdfs.telemetry import configure_logging
configure_logging("warning")
log = structlog.get_logger("x")
log.info("hidden")
secret = "s3cret"
try:
    raise ValueError("why")
except ValueError:
    log.error("shown", node_id="dn-1", exc_info=True)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    said = json.loads(line)
    assert (said["event"], said["level"], said["node_id"]) == ("shown", "error", "dn-1")
    assert "ValueError: why" in said["exception"]
    assert "s3cret" not in line
