# All that a newcomer needs: `make run`, `make test`, `make bundle`. Each first sets the machine up
# (tools/setup.sh, instant once done) and builds with CMake; `make help` lists the rest.

.DEFAULT_GOAL := help
.PHONY: help setup run build test test-asan test-openai test-web test-deploy fuzz lint format docs bundle clean distclean

PROMPT ?= Once upon a time
# The text as it was typed, for "$$PROMPT" in a recipe: never expanded by make nor pasted into a command.
override PROMPT := $(value PROMPT)
export PROMPT

# Where set, Dawn is taken from there and nothing is downloaded for it.
CRIA_DAWN_ROOT ?=
export CRIA_DAWN_ROOT

JOBS ?= $(shell nproc 2>/dev/null || echo 2)
configure_flags := $(if $(CRIA_DAWN_ROOT),-DCRIA_DAWN_ROOT="$(CRIA_DAWN_ROOT)")
ifneq ($(shell command -v ccache),)
  configure_flags += -DCMAKE_CXX_COMPILER_LAUNCHER=ccache
endif

# $(call build,PRESET,FLAGS): configures once (Ninja repeats it when a CMake file changes), then builds.
define build
	@test -e build/$(1)/build.ninja -a -z "$$CRIA_DAWN_ROOT" || { mkdir -p build && \
	  cmake --preset $(1) $(2) $(configure_flags) >build/$(1).log 2>&1 || { cat build/$(1).log; exit 1; }; }
	@cmake --build --preset $(1) --parallel $(JOBS)
endef

# The tests run on the CPU unless the caller says otherwise, so that they mean the same on every machine.
run_tests = CRIA_CACHE_DIR=build/$(1)/cache CRIA_VULKAN_DRIVER=$${CRIA_VULKAN_DRIVER:-$(if $(CRIA_DAWN_ROOT),auto,lavapipe)} \
  ctest --test-dir build/$(1) --output-on-failure --parallel $(JOBS) $(ARGS)

sources = git ls-files --cached --others --exclude-standard '*.cpp' '*.h'

help:
	@echo 'make run [PROMPT="..."] [ARGS="--max-tokens 50"]   continue a text with the model that comes with Cria'
	@echo 'make test [ARGS="-R kernels"]     build and run the tests (CRIA_VULKAN_DRIVER=auto: on the GPU)'
	@echo 'make test-asan                    the same with address and undefined-behaviour sanitizers'
	@echo 'make test-openai                  OpenAI'"'"'s client from npm against the server (needs Node.js 20)'
	@echo 'make fuzz [ARGS="gguf json"]      look for inputs that the readers of files do not survive (FUZZ_SECONDS=60 each)'
	@echo 'make test-web                     the web page in headless Chromium; screenshots in build/dev/web-screenshots'
	@echo 'make test-deploy                  replicas behind HAProxy, one of which is killed (needs Node.js 18)'
	@echo 'make bundle                       dist/cria-VERSION-linux-ARCH.tar.gz, which runs without installing'
	@echo '  BUNDLE_MODEL=0                  ... without the model;  BUNDLE_SOFTWARE=1  ... with a driver for the CPU'
	@echo 'make lint, make format            check or apply the code style'
	@echo 'make docs                         write docs/kernels.md from the headers of the shaders'
	@echo 'make setup                        only install and unpack what building needs'
	@echo 'make clean, make distclean        delete what was built; also what was unpacked'

setup:
	@tools/setup.sh

build: setup
	$(call build,release,-DCRIA_BUILD_TESTS=OFF)

run: build
	@build/release/bin/cria run --prompt="$$PROMPT" $(ARGS)

test:
	@tools/setup.sh tests
	$(call build,dev)
	@$(call run_tests,dev)

# Once installed, the client is part of `make test` too.
test-openai:
	@npm ci --prefix tests/openai --no-audit --no-fund
	@$(MAKE) test ARGS="-R openai_client"

# As with the client: once its packages are installed, it is part of `make test` too.
test-web:
	@tools/setup.sh web
	@npm ci --prefix tests/web --ignore-scripts --no-audit --no-fund
	@$(MAKE) test ARGS="-R ^web_"

# Two servers behind HAProxy with deploy/haproxy.cfg.
test-deploy:
	@tools/setup.sh deploy
	$(call build,dev)
	@CRIA_CACHE_DIR=build/dev/cache CRIA_VULKAN_DRIVER=$${CRIA_VULKAN_DRIVER:-lavapipe} CRIA_PROGRAM=build/dev/bin/cria \
	  node --test tests/deploy/replicas_test.mjs

# Drivers and LLVM keep memory until the process ends, so leaks are not reported.
test-asan:
	@tools/setup.sh tests
	$(call build,asan-ubsan)
	@ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 UBSAN_OPTIONS=print_stacktrace=1 $(call run_tests,asan-ubsan)

FUZZ_SECONDS ?= 60
fuzz:
	@tools/setup.sh fuzz
	$(call build,fuzz)
	@FUZZ_SECONDS=$(FUZZ_SECONDS) tools/fuzz.sh build/fuzz $(ARGS)

lint:
	@tools/setup.sh lint
	$(call build,dev)
	@$(sources) | xargs clang-format-19 --dry-run -Werror
	@tools/tidy.sh build/dev

format:
	@tools/setup.sh lint
	@$(sources) | xargs clang-format-19 -i

docs:
	@cmake -P cmake/kernel_docs.cmake

bundle: build
	@tools/bundle.sh build/release

clean:
	rm -rf build dist

distclean: clean
	rm -rf .deps
