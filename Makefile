# Everything a checkout needs: Python 3.11 or newer, git and make.
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python
PORT ?= 8000
# The number of processes that run tests, which wait for other threads and processes at
# times. On two processors eight took half as much processor time again as four. With 0
# there is one process, as debuggers need.
WORKERS ?= $(shell echo $$(($$(nproc) + 2)))
# The code that attackers reach first, and its tests, all of them with WSGI and with stores
# of this process, since flows are the same code for all. 98 % of lines and branches
# together means at least 95 % of these lines and 90 % of these branches.
GUARDED = "*/_core/return_to.py,*/_core/base64url.py,*/_session/cookie.py,*/_session/refresh.py,*/_session/refresh_lock.py,*/_session/refresh_request.py,*/_session/revocation.py,*/_session/due.py,*/_web/login.py,*/_web/begin_login.py,*/_web/finish_login.py,*/_web/conclude_login.py,*/_web/unfinished_login.py,*/_web/login_decision.py,*/_web/carried.py,*/_web/transaction.py,*/_web/code_exchange.py,*/_web/login_cookies.py,*/_web/login_results.py"
COVERING ?= -k "not (asyncio or trio or redis)" tests/unit/test_tokens.py tests/unit/_core/test_return_to.py tests/unit/_core/test_base64url.py \
	tests/unit/_session $(addprefix tests/unit/_web/test_,$(addsuffix .py,cookie_header login_cookies login_decision)) \
	$(addprefix tests/security/test_cwe,$(addsuffix .py,\
	294_callback_replay 352_login_csrf 384_session_cookies 770_unbounded_cookies 352_cross_site_requests 352_carried_data 352_connect 306_recent_login 863_refused_logins 348_untrusted_headers 650_methods 1385_websocket_origin)) $(addprefix tests/flows/test_,$(addsuffix .py,\
	login login_options on_login callbacks refresh refresh_rules takeover sweeps operator_log events journey processes \
	connect disconnect recent_login store_copy button ended_access try_again sessions)) \
	tests/integrations/django_project/test_connecting_login.py

.PHONY: bench bench-check coverage demo demo-flask demo-django test whole matrix lint reliability sealing audit fuzz soak mutate paths apps browsers servers proxies clean

# The environment is rebuilt when its requirements have changed.
$(VENV)/ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade "pip>=25.1"
	$(RUN) -m pip install --quiet --editable ".[all]" --group demo
	touch $@

$(VENV)/ready-to-test: $(VENV)/ready
	$(RUN) -m pip install --quiet --group test --group lint
	touch $@

demo: $(VENV)/ready  ## the Starlette example, with the stand-in for TikTok
	$(RUN) -m examples.starlette_app --port $(PORT)

demo-flask: $(VENV)/ready  ## the Flask example, with the stand-in for TikTok
	$(RUN) -m examples.flask_app --port $(PORT)

demo-django: $(VENV)/ready  ## the Django example, with the stand-in for TikTok
	$(RUN) -m examples.django_app --port $(PORT)

# Keeping bytecode halves the time in which pytest imports and collects.
test coverage whole: export PYTHONDONTWRITEBYTECODE =
# The linters run beside the first tests, which leave the processor idle at times; what
# they find comes last, and fails the target too.
# Files of tests are in memory where it is large enough, since thousands of databases and
# profiles of browsers would wait for the disk.
IN_MEMORY = TMPDIR=$$(mktemp -d -p "$$(.ci/memory)"); export TMPDIR; \
	chmod 711 "$$TMPDIR"; trap 'rm -rf "$$TMPDIR"' EXIT; trap 'exit 130' INT TERM;
test: $(VENV)/ready-to-test  ## the linters and the whole suite
	@$(IN_MEMORY) \
	$(MAKE) --no-print-directory lint >"$$TMPDIR/lint" 2>&1 & linters=$$!; \
	$(RUN) -m pytest --workers $(WORKERS) $(ARGS); tests=$$?; \
	if wait $$linters; then echo "The linters found nothing."; \
	else cat "$$TMPDIR/lint"; tests=1; fi; exit $$tests

# The whole suite takes twice as long with coverage: COVERING= runs all of it.
coverage: export COVERAGE_PROCESS_START = $(CURDIR)/pyproject.toml
coverage: $(VENV)/ready-to-test  ## branch coverage of security-relevant code
	env -u COVERAGE_PROCESS_START $(RUN) -m coverage erase
	@$(IN_MEMORY) $(if $(COVERING),COMBINATIONS=all) $(RUN) -m pytest --workers $(WORKERS) $(COVERING)
	env -u COVERAGE_PROCESS_START $(RUN) -m coverage combine --quiet
	env -u COVERAGE_PROCESS_START $(RUN) -m coverage report --include=$(GUARDED) --fail-under=98

# Ten minutes and more for each; ARGS="-- tests/flows" runs less.
PYTHONS ?= python3.12 python3.13 python3.14 python3.15
whole: $(VENV)/ready-to-test  ## the whole suite on other Pythons; PYTHONS="python3.13"
	$(RUN) .ci/whole.py --workers $(WORKERS) $(PYTHONS) $(ARGS)

matrix: $(VENV)/ready-to-test  ## the wheel in new environments; ARGS="lowest httpx"
	$(RUN) .ci/matrix.py $(ARGS)

# pyright has no cache, unlike mypy: it runs again when a file that it reads has changed, or
# a folder, since a file may have been deleted.
TYPED = $(shell find tiktok_oauth_middleware tests/typing -name __pycache__ -prune \
	-o \( -name "*.py" -o -type d \) -print)
$(VENV)/pyright-passed: $(VENV)/ready-to-test pyproject.toml $(TYPED)
	$(VENV)/bin/pyright
	touch $@

lint: $(VENV)/ready-to-test  ## ruff, mypy, pyright, import-linter, bandit
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	@$(MAKE) --no-print-directory $(VENV)/pyright-passed
	$(VENV)/bin/lint-imports
	$(VENV)/bin/bandit --quiet --recursive --configfile pyproject.toml tiktok_oauth_middleware

$(VENV)/ready-to-bench: $(VENV)/ready-to-test
	$(RUN) -m pip install --quiet --group bench
	touch $@

bench: $(VENV)/ready-to-bench  ## the middleware's cost, compared with others; 10 minutes
	$(RUN) -m benchmarks.speed --write docs $(ARGS)

bench-check: $(VENV)/ready-to-bench  ## the figures of a request; fails if far too slow
	$(RUN) -m benchmarks.speed requests wsgi --rounds 5 --check

reliability: $(VENV)/ready-to-test  ## kills, outages, races; ARGS="--scale 0.1" for less
	$(RUN) -m hardening.reliability $(ARGS)

paths: $(VENV)/ready-to-test  ## raw paths to ten frameworks; ARGS="--targets 500 flask"
	$(RUN) -W ignore -m hardening.paths $(ARGS)

# Their pinned versions conflict, so each app has its own environment.
APPS ?= chainlit dash datasette fasthtml gradio marimo mcp nicegui panel shiny streamlit
.venv-apps/%/ready: pyproject.toml
	$(PYTHON) -m venv --clear .venv-apps/$*
	.venv-apps/$*/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	.venv-apps/$*/bin/python -m pip install --quiet --editable . --group app-$*
	touch $@

apps: $(VENV)/ready-to-test $(APPS:%=.venv-apps/%/ready)  ## docs/integrations/apps.md; APPS="dash"
	$(RUN) -m pytest tests/apps $(ARGS)

# Needs the system packages apache2-bin libapache2-mod-wsgi-py3 libev-dev gcc.
servers: $(VENV)/ready-to-test  ## every server of docs/operations/servers.md; 10 minutes
	$(RUN) -m pip install --quiet --group compiled --group servers
	SERVERS=all $(RUN) -m pytest tests/servers/test_servers.py tests/servers/test_tabs.py \
		tests/servers/test_sigterm.py $(ARGS)

# Needs Debian's nginx-light, apache2-bin, haproxy, caddy and varnish; none is started
# as a service.
proxies: $(VENV)/ready-to-test  ## the proxies of docs/operations/proxies.md, with caches
	PROXIES=all $(RUN) -m pytest tests/servers/test_proxies.py $(ARGS)

# apt install chromium firefox-esr gir1.2-webkit2-4.1 python3-gi xvfb; BROWSERS=firefox
# runs one.
browsers: export BROWSERS := $(or $(BROWSERS),chromium firefox webkit)
browsers: $(VENV)/ready-to-test  ## the journey in three browsers
	$(RUN) -m pip install --quiet --group browsers
	$(RUN) -m pytest tests/browser/test_journeys.py $(ARGS)

sealing: $(VENV)/ready-to-test  ## sealed values with flipped bits; ARGS="--scale 0.1"
	$(RUN) -m hardening.sealing $(ARGS)

# --strict fails if the known weaknesses of a library could not be asked for; it fails
# for an editable install too, so the package itself is left out.
audit: $(VENV)/ready-to-test  ## pip-audit on what is installed
	$(RUN) -m pip install --quiet --group audit
	@found=$$(mktemp); trap 'rm -f "$$found"' EXIT; \
	$(RUN) -m pip freeze --exclude-editable >"$$found" && \
	$(VENV)/bin/pip-audit --strict --disable-pip --no-deps --requirement "$$found"

fuzz: $(VENV)/ready-to-test  ## every parser, a million inputs; ARGS="--inputs 100000"
	-$(RUN) -m pip install --quiet --group fuzz
	$(RUN) -m hardening.fuzz $(ARGS)

soak: $(VENV)/ready-to-test  ## real servers for two hours; ARGS="--minutes 20"
	$(RUN) -m hardening.soak $(ARGS)

mutate: $(VENV)/ready-to-test  ## changes the package, to check that tests notice
	$(RUN) -m hardening.mutation $(ARGS)

clean:
	rm -rf $(VENV) build .coverage .coverage.* .mypy_cache .ruff_cache .hypothesis screenshots

.PHONY: docs diagrams screenshot languages
languages: $(VENV)/ready-to-test  ## the catalogs of our pages, from translations/*.po
	$(RUN) -m translations $(ARGS)

docs: $(VENV)/ready-to-test  ## the site, in build/docs; a warning is an error
	$(RUN) -m sphinx -q -E -W --keep-going -b html docs build/docs
	@echo "build/docs/index.html"

diagrams: $(VENV)/ready-to-test  ## docs/images/diagrams, with Chromium and npm's Mermaid
	$(RUN) docs/site_diagrams.py

screenshot: $(VENV)/ready-to-test  ## the pictures in docs/images, with Chromium
	$(RUN) -m examples.screenshot
