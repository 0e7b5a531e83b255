"""Makes the mutants of some modules, runs their tests, and lists the survivors."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
#: Flows are the same code for all interfaces and stores, so WSGI with memory is enough.
_CHOSEN = "not (asyncio or trio or sqlite or redis)"
_OPTIONS = ["-qq", "--no-header", "-p", "no:randomly", "-k", _CHOSEN]
_COOKIES = ["properties/test_parsers.py", "flows/test_journey.py"]
_LOGIN = [
    *(
        f"flows/test_{name}.py"
        for name in [
            "login",
            "login_options",
            "callbacks",
            "on_login",
            "try_again",
            "dead_cookies",
            "recent_login",
            "own_pages",
            "connect",
            "journey",
            "events",
        ]
    ),
    *(
        f"security/test_cwe{name}.py"
        for name in [
            "235_repeated_parameters",
            "294_callback_replay",
            "306_recent_login",
            "352_carried_data",
            "352_connect",
            "352_cross_site_requests",
            "352_login_csrf",
            "384_session_cookies",
            "472_login_parameters",
            "650_methods",
            "834_redirect_loop",
            "863_refused_logins",
        ]
    ),
    "integrations/django_project/test_connecting_login.py",
]
_CONNECT = [
    "security/test_cwe352_connect.py",
    "flows/test_connect.py",
    "flows/test_ended_access.py",
    "integrations/django_project/test_connecting.py",
]
_REFRESH = [
    "unit/_session/test_refresh.py",
    "flows/test_refresh.py",
    "flows/test_refresh_rules.py",
    "flows/test_outages.py",
    "flows/test_events.py",
]
_WEBHOOK = [
    "flows/test_webhooks.py",
    "flows/test_ended_access.py",
    "flows/test_events.py",
    "flows/test_journey.py",
    "flows/test_connect.py",
    "security/test_cwe650_methods.py",
]
_REFUSED = ["security/test_cwe863_refused_logins.py"]
#: The modules that are changed, and the tests that must notice the changes.
TESTS = {
    "_core.return_to": [
        "unit/_core/test_return_to.py",
        "properties/test_parsers.py",
        "flows/test_journey.py",
    ],
    "_core.base64url": [
        "unit/_core/test_base64url.py",
        "unit/_session/test_cookie.py",
        *_COOKIES,
    ],
    "_web.cookie_header": ["unit/_web/test_cookie_header.py", *_COOKIES],
    "_session.cookie": ["unit/_session/test_cookie.py", *_COOKIES],
    "_web.begin_login": _LOGIN,
    "_web.finish_login": _LOGIN,
    "_web.conclude_login": _LOGIN,
    "_web.app_user": _CONNECT,
    "_web.begin_connect": _CONNECT,
    "_web.finish_connect": _CONNECT,
    "_web.unfinished_login": _LOGIN,
    "_web.login_decision": [
        "unit/_web/test_login_decision.py",
        "flows/test_on_login.py",
        *_REFUSED,
    ],
    "_web.carried": ["security/test_cwe352_carried_data.py"],
    "_web.transaction": _LOGIN,
    "_web.code_exchange": _LOGIN,
    "_web.login_cookies": [
        "unit/_web/test_login_cookies.py",
        "security/test_cwe770_unbounded_cookies.py",
        *_COOKIES,
        *_LOGIN,
    ],
    "_web.logout": [
        "security/test_cwe352_carried_data.py",
        "security/test_cwe352_cross_site_requests.py",
        "security/test_cwe650_methods.py",
        "security/test_cwe384_session_cookies.py",
        "security/test_cwe601_open_redirect.py",
        "flows/test_own_pages.py",
        "flows/test_sessions.py",
        "flows/test_journey.py",
        "flows/test_events.py",
    ],
    "_web.webhook": _WEBHOOK,
    "_oauth.webhook_delivery": ["unit/_oauth/test_webhook_delivery.py", *_WEBHOOK],
    "_session.connections": [
        "unit/_session/test_connections.py",
        "properties/test_connections.py",
        *_CONNECT,
    ],
    "_session.due": [
        "unit/_session/test_due.py",
        "flows/test_refresh_rules.py",
        "flows/test_sweeps.py",
    ],
    "_session.refresh": _REFRESH,
    "_session.refresh_lock": [
        "flows/test_disconnect.py",
        *_REFRESH,
        "flows/test_takeover.py",
        "unit/test_tokens.py",
    ],
    "_session.refresh_request": _REFRESH,
    "_session.revocation": [
        "flows/test_disconnect.py",
        "flows/test_ended_access.py",
        "flows/test_sessions.py",
        "flows/test_journey.py",
        "flows/test_events.py",
        "flows/test_operator_log.py",
        "flows/test_connect.py",
        "flows/test_on_login.py",
        "unit/test_tokens.py",
        *_REFUSED,
    ],
}
#: How a module is named on the command line.
SHORT = {module.rpartition(".")[2]: module for module in TESTS}


def main() -> int:
    """Return 1 if too many survived anywhere."""
    parser = argparse.ArgumentParser(prog="python -m hardening.mutation")
    parser.add_argument("names", nargs="*", metavar="MODULE", help=", ".join(SHORT))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--every", type=int, default=1, help="one mutant in this many")
    args = parser.parse_args()
    unknown = set(args.names) - set(SHORT)
    if unknown:
        parser.error(f"no such module: {', '.join(sorted(unknown))}")
    # One pytest for each module, so that it collects only that module's tests.
    ended = [_run(SHORT[name], args) for name in args.names or SHORT]
    return max(ended)


def _run(name: str, args: argparse.Namespace) -> int:
    tests = [f"tests/{test}" for test in TESTS[name]]
    command = [sys.executable, "-m", "pytest", "-p", "hardening.mutation.trial"]
    environ = os.environ | {
        "MUTATION_MODULE": name,
        "MUTATION_JOBS": str(args.jobs),
        "MUTATION_EVERY": str(args.every),
        # `_CHOSEN` selects one combination of each flow, which must have been
        # collected.
        "COMBINATIONS": "all",
    }
    done = subprocess.run(
        [*command, *_OPTIONS, *tests], cwd=ROOT, env=environ, check=False
    )
    return 1 if done.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
