"""Whether a start could hear answers from outside: for `tocsin run --check`. Nobody sees it."""

from __future__ import annotations

from monitor.http_client import HttpClient
from monitor.inbound.settings import PagerDutyAnswers, SlackAnswers
from monitor.inbound.slack_socket import open_connection
from monitor.notify.channel import Refused
from monitor.notify.slack_call import CallError
from monitor.processes.launch import Unreachable, UsageError

_CURES = {
    "missing_scope": "give it the scope connections:write (Basic Information, App-Level Tokens)",
    "not_allowed_token_type": "app_token wants an app-level token (xapp-...), not a bot's",
    "invalid_auth": "make a new one under Basic Information, App-Level Tokens",
    "token_revoked": "make a new one under Basic Information, App-Level Tokens",
    "socket_mode_not_enabled": "switch Socket Mode on in the app's settings",
}


def try_slack(settings: SlackAnswers) -> str:
    """Ask for a connection of Socket Mode, and do not use it; in words how it went.

    Raises:
        UsageError: Slack refuses; the message says what to do.
        Unreachable: Slack does not answer.
        SecretUnavailableError: the token or the signing secret cannot be read.
    """
    if settings.signing_secret is not None:
        settings.signing_secret.reveal()
        return f"by signed HTTP, secret in {settings.signing_secret.where}"
    try:
        with HttpClient(ca_file=settings.ca_file, proxy=settings.proxy) as http:
            open_connection(settings, http)
    except OSError as problem:
        said = problem.strerror or problem
        raise UsageError(f"the ca_file of inbound.slack cannot be used: {said}") from None
    except CallError as failure:
        said = getattr(failure.outcome, "reason", "")
        if not isinstance(failure.outcome, Refused):
            raise Unreachable(f"Slack's Socket Mode: {said}") from None
        cure = _CURES.get(failure.code, "see the app's settings at https://api.slack.com/apps")
        raise UsageError(f"the app token does not do: {said}; {cure}") from None
    where = "" if settings.app_token is None else f", app token in {settings.app_token.where}"
    return f"by Socket Mode{where}"


def try_pagerduty(settings: PagerDutyAnswers) -> str:
    """Read the secrets of the web hooks; in words where they are.

    Raises:
        SecretUnavailableError: one cannot be read.
    """
    for secret in settings.secrets:
        secret.reveal()
    return f"by web hook, secret in {', '.join(secret.where for secret in settings.secrets)}"
