# sluice: build, test, install.  `make help` lists the targets.
.DEFAULT_GOAL := all
B       ?= build
CC      := gcc
PREFIX  ?= /usr/local
DESTDIR ?=
VERSION := 0.1.0

CPPFLAGS := -I. -D_GNU_SOURCE -DSLUICE_VERSION='"$(VERSION)"' $(EXTRA_CPPFLAGS)
# WERROR=1 makes warnings errors: CI, lint and the sanitizers' builds set it; compilers to come warn of what these do not.
WERROR   ?=
ERRORS   := $(if $(filter 1 yes,$(WERROR)),-Werror)
WARN     := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wconversion -Wno-sign-conversion $(ERRORS)
# A short line a file; V=1 shows the whole commands.
V        ?=
Q        := $(if $(filter 1 yes,$(V)),,@)
say       = $(if $(Q),@printf '  %-5s %s\n' $(1) $(2))
# Same bits on every machine: no contraction but the fma that the kernels ask for by name.
CFLAGS   := -std=gnu17 -O2 -g -ffp-contract=off -fno-math-errno -pthread $(WARN) $(EXTRA_CFLAGS)
LDFLAGS  := -pthread $(EXTRA_LDFLAGS)

# The C library of msgpack is called msgpackc up to Debian 12, msgpack-c after it.
MSGPACK          := $(if $(filter /%,$(shell $(CC) -print-file-name=libmsgpack-c.so 2>/dev/null)),-lmsgpack-c,-lmsgpackc)
LIBS_proto       := -lzmq $(MSGPACK) -lrt
LIBS_reader      := -luring
LIBS_coordinator := -ljansson -lmicrohttpd -lpcre2-8 -lutf8proc -lsentencepiece -lstdc++ -ledit -lcrypto -ldl -lm
LIBS_compute     := -lm
LIBS_verify      := -lcrypto

# One archive per room; main.c of a process is linked into its binary alone.
src     = $(sort $(filter-out %/main.c,$(foreach d,$(1),$(wildcard $(d)/*.c))))
obj     = $(patsubst %.c,$(B)/obj/%.o,$(1))
SRC_proto        := $(call src,proto proto/base proto/stage proto/unit)
SRC_reader       := $(call src,reader)
SRC_transfer     := $(call src,transfer)
SRC_transfer_cpu := $(call src,transfer/cpu)
SRC_compute      := $(call src,compute)
SRC_compute_cpu  := $(call src,compute/cpu)
SRC_verify       := $(call src,reader/verify)
SRC_link         := $(call src,transfer/link)
SRC_coordinator  := $(call src,coordinator coordinator/arch/families $(wildcard coordinator/*))
# libsentencepiece speaks C++: one thin bridge to it.
CXX_coordinator  := $(sort $(wildcard coordinator/tokenizer/*.cc))
ROOMS := proto reader transfer transfer_cpu compute compute_cpu verify coordinator
LIB    = $(B)/lib$(1).a

BINARIES := $(B)/sluice $(B)/sluice-node $(B)/sluice-reader $(B)/sluice-transfer-cpu $(B)/sluice-compute-cpu $(B)/sluice-verify

# MPI, which joins machines: found by its compiler; MPI=no builds without, MPI=1 wants it. MPICC=mpicc.mpich takes another one.
MPICC ?= $(firstword $(shell command -v mpicc mpicc.openmpi mpicc.mpich 2>/dev/null))
MPI   ?= $(if $(MPICC),1,no)
ifneq ($(filter 1 yes,$(MPI)),)
ifeq ($(MPICC),)
$(error MPI=$(MPI), and there is no mpicc: install libopenmpi-dev (or libmpich-dev))
endif
BINARIES += $(B)/sluice-link
endif

# CUDA: found by nvcc; CUDA=no builds without it.
NVCC := $(firstword $(wildcard /usr/local/cuda/bin/nvcc) $(shell command -v nvcc 2>/dev/null))
CUDA ?= $(if $(NVCC),yes,no)
ifeq ($(CUDA),yes)
CUDA_HOME  := $(patsubst %/bin/nvcc,%,$(NVCC))
# For another processor than this one (CC and CXX of a cross compiler) nvcc takes its C++ compiler from CXX, and headers and
# libraries from the toolkit's folder for it: of 64-bit ARM, servers' (sbsa) or Jetson's. CUDA_TARGET names another.
CUDA_FOR   := $(firstword $(subst -, ,$(shell $(CC) -dumpmachine)))
ifneq ($(or $(CUDA_FOR),$(shell uname -m)),$(shell uname -m))
CUDA_TARGET ?= $(firstword $(notdir $(wildcard $(if $(filter aarch64,$(CUDA_FOR)),$(CUDA_HOME)/targets/sbsa-linux $(CUDA_HOME)/targets/aarch64-linux))))
CUDA_CROSS := -ccbin "$(lastword $(filter-out -%,$(CXX)))" $(addprefix -Xcompiler ,$(filter -%,$(CXX))) $(addprefix -target-dir ,$(CUDA_TARGET))
endif
CUDA_LIB   := $(CUDA_HOME)/$(if $(CUDA_TARGET),targets/$(CUDA_TARGET)/lib,lib64)
CUDA_INCLUDE := $(CUDA_HOME)/$(if $(CUDA_TARGET),targets/$(CUDA_TARGET)/include,include)
# Of the architectures that there are, those that this nvcc knows; PTX of the newest for what comes after it, and of the
# oldest for what lies between. 87 and 110 are those of boards with 64-bit ARM processors (Orin, Thor).
CUDA_WANTED := 75 80 86 $(if $(filter aarch64,$(CUDA_FOR)),87) 89 90 100 $(if $(filter aarch64,$(CUDA_FOR)),110) 120
ifeq ($(origin CUDA_ARCHS),undefined)
CUDA_KNOWN := $(patsubst compute_%,%,$(shell $(NVCC) --list-gpu-arch 2>/dev/null))
CUDA_ARCHS := $(filter $(or $(CUDA_KNOWN),75 80 86),$(CUDA_WANTED))
endif
CUDA_PTX   ?= $(sort $(firstword $(CUDA_ARCHS)) $(lastword $(CUDA_ARCHS)))
GENCODE    := $(foreach a,$(CUDA_ARCHS),-gencode arch=compute_$(a),code=sm_$(a)) $(foreach a,$(CUDA_PTX),-gencode arch=compute_$(a),code=compute_$(a))
NVCCFLAGS  := $(CUDA_CROSS) -std=c++17 -O3 -I. -D_GNU_SOURCE $(GENCODE) --threads 2 -Xcompiler -Wall,-Wextra $(if $(ERRORS),-Werror all-warnings)
SRC_transfer_cuda := $(call src,transfer/cuda)
SRC_compute_cuda  := $(call src,compute/cuda)
CU_transfer_cuda  := $(sort $(wildcard transfer/cuda/*.cu))
CU_compute_cuda   := $(sort $(wildcard compute/cuda/*.cu))
ROOMS    += transfer_cuda compute_cuda
BINARIES += $(B)/sluice-transfer-cuda $(B)/sluice-compute-cuda
LIBS_cuda := -L$(CUDA_LIB) -Wl,-rpath,$(CUDA_LIB) -lcudart -lcublas -lstdc++
endif

define room
OBJ_$(1) := $(call obj,$(SRC_$(1))) $(patsubst %.cu,$(B)/obj/%.cu.o,$(CU_$(1))) $(patsubst %.cc,$(B)/obj/%.cc.o,$(CXX_$(1)))
$(B)/lib$(1).a: $$(OBJ_$(1))
	$(call say,AR,$$@)
	$(Q)rm -f $$@; ar qcsD $$@ $$^
endef
$(foreach r,$(ROOMS),$(eval $(call room,$(r))))

.PHONY: all help deps demo test test-gpu cuda-archs cuda-check asan tsan lint check-deps install uninstall clean format
all: $(BINARIES) ## build everything into build/

$(B)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@
$(B)/obj/%.cc.o: %.cc
	@mkdir -p $(@D)
	$(call say,CXX,$<)
	$(Q)$(CXX) $(CPPFLAGS) -std=c++17 -O2 -g -pthread -Wall -Wextra $(ERRORS) $(EXTRA_CFLAGS) -MMD -MP -c $< -o $@
$(B)/obj/%.cu.o: %.cu
	@mkdir -p $(@D)
	$(call say,NVCC,$<)
	$(Q)$(NVCC) $(NVCCFLAGS) -MMD -MP -c $< -o $@
$(B)/obj/transfer/cuda/%.o $(B)/obj/compute/cuda/%.o: CPPFLAGS += -isystem $(CUDA_INCLUDE)

# Kernels of instruction sets that not every processor has; which are used is decided at run time.
ifneq ($(filter x86_64% amd64%,$(shell $(CC) -dumpmachine)),)
AVX2   := -mavx2 -mfma -mf16c
AVX512 := $(AVX2) -mavx512f -mavx512bw -mavx512dq -mavx512vl
$(B)/obj/compute/cpu/kernels_avx2.o $(B)/obj/compute/cpu/blocks_avx2.o: CFLAGS += $(AVX2)
$(B)/obj/compute/cpu/kernels_avx512.o $(B)/obj/compute/cpu/blocks_avx512.o: CFLAGS += $(AVX512)
$(B)/obj/compute/cpu/kernels_avx512_vbmi.o: CFLAGS += $(AVX512) -mavx512vbmi
$(B)/obj/proto/unit/unit_avx2.o: CFLAGS += -O3 -mavx2 -mbmi2 -mpopcnt
$(B)/obj/proto/unit/unit_avx512.o: CFLAGS += -O3 -mavx2 -mbmi2 -mpopcnt -mavx512f -mavx512bw
endif
$(B)/obj/proto/unit/unit_neon.o: CFLAGS += -O3

# The page is part of the program.
$(B)/obj/coordinator/serve/page.o: $(addprefix coordinator/serve/page.,html js css)

link = $(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^
$(B)/sluice: $(B)/obj/coordinator/main.o $(call LIB,coordinator) $(call LIB,proto)
	$(call say,LINK,$@)
	$(Q)$(link) $(LIBS_coordinator) $(LIBS_proto)
$(B)/sluice-reader: $(B)/obj/reader/main.o $(call LIB,reader) $(call LIB,proto)
	$(call say,LINK,$@)
	$(Q)$(link) $(LIBS_reader) $(LIBS_proto)
$(B)/sluice-transfer-cpu: $(B)/obj/transfer/main.o $(call LIB,transfer) $(call LIB,transfer_cpu) $(call LIB,proto)
	$(call say,LINK,$@)
	$(Q)$(link) $(LIBS_proto)
$(B)/sluice-compute-cpu: $(B)/obj/compute/main.o $(call LIB,compute) $(call LIB,compute_cpu) $(call LIB,proto)
	$(call say,LINK,$@)
	$(Q)$(link) $(LIBS_compute) $(LIBS_proto)
$(B)/sluice-verify: $(B)/obj/reader/verify/main.o $(call LIB,verify) $(call LIB,proto)
	$(call say,LINK,$@)
	$(Q)$(link) $(LIBS_verify) -lrt
$(B)/sluice-node: $(B)/obj/coordinator/node/main.o $(call LIB,coordinator) $(call LIB,proto)
	$(call say,LINK,$@)
	$(Q)$(link) $(LIBS_proto)
# The compiler that MPI has wrapped is the one that it was built with; its headers are none of ours.
$(B)/sluice-link: $(call obj,$(SRC_link)) $(B)/obj/transfer/link/main.o $(call LIB,proto)
	$(call say,LINK,$@)
	$(Q)$(MPICC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS_proto)
$(B)/obj/transfer/link/%.o: transfer/link/%.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(MPICC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@
$(B)/sluice-transfer-cuda: $(B)/obj/transfer/main.o $(call LIB,transfer) $(call LIB,transfer_cuda) $(call LIB,proto)
	$(call say,LINK,$@)
	$(Q)$(link) $(LIBS_cuda) $(LIBS_proto)
$(B)/sluice-compute-cuda: $(B)/obj/compute/main.o $(call LIB,compute) $(call LIB,compute_cuda) $(call LIB,proto)
	$(call say,LINK,$@)
	$(Q)$(link) $(LIBS_cuda) $(LIBS_compute) $(LIBS_proto)

# A program finds its stages in its own folder, so the tests' folder has links to them.
STAGES      := $(filter-out $(B)/sluice,$(BINARIES))
STAGE_LINKS := $(patsubst $(B)/%,$(B)/tests/%,$(STAGES))
$(STAGE_LINKS):
	@mkdir -p $(@D)
	@ln -sfn ../$(@F) $@

# Tests: tests/test_SUBJECT.c is one cmocka program; tests/support*.c is shared by all of them.
TESTS   := $(patsubst tests/%.c,$(B)/tests/%,$(sort $(wildcard tests/test_*.c)))
SUPPORT := $(call obj,$(sort $(filter-out $(wildcard tests/test_*.c),$(wildcard tests/*.c))))
TESTLIBS := $(call LIB,coordinator) $(call LIB,reader) $(call LIB,transfer) $(call LIB,transfer_cpu) \
            $(call LIB,compute) $(call LIB,compute_cpu) $(call LIB,verify) $(call LIB,proto)
$(B)/tests/test_%: $(B)/obj/tests/test_%.o $(SUPPORT) $(TESTLIBS) | $(STAGE_LINKS)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) -Wl,--start-group $(TESTLIBS) -Wl,--end-group \
	    -lcmocka $(LIBS_coordinator) $(LIBS_reader) $(LIBS_verify) $(LIBS_proto)
.PRECIOUS: $(B)/obj/%.o
# Counts the allocations of what it is linked with.
$(B)/tests/test_footprint: LDFLAGS += $(foreach f,malloc calloc realloc reallocarray aligned_alloc posix_memalign free mmap munmap,-Wl,--wrap=$(f))
# Counts allocations in the stages that a test starts; takes O_TMPFILE away; stands for systems with larger pages.
$(B)/tests/test_steady: | $(B)/tests/count_calls.so
$(B)/tests/test_outputs: | $(B)/tests/no_tmpfile.so
$(B)/tests/test_pages: | $(B)/tests/larger_pages.so
$(B)/tests/%.so: tests/preload/%.c
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CPPFLAGS) -std=gnu17 -O2 -fPIC -shared $(WARN) -o $@ $<

# Programs for measuring: bench/NAME.c, made one by one (make build/bench/NAME).
$(B)/bench/%: $(B)/obj/bench/%.o $(B)/obj/tests/mkmodel.o $(TESTLIBS)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) -Wl,--start-group $(TESTLIBS) -Wl,--end-group \
	    $(LIBS_coordinator) $(LIBS_reader) $(LIBS_proto)

# As many jobs as processors, unless make was told a number.
JOBS = $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc))
AGAIN = $(MAKE) --no-print-directory $(JOBS)

deps: ## install the Debian packages that are missing
	@bash tests/deps.sh

# Demo and tests leave CUDA out where there is no GPU to run it: compiling for every architecture takes minutes. make and
# make cuda-check build it.
HERE_CUDA := $(if $(wildcard /dev/nvidia0),$(CUDA),no)
DEMO := tests/data/demo-model
STORY := Once upon a time
QUESTION := Please tell me about Karl and the bell.
demo: ## install what is missing, build, and let the demo model tell a story and answer a question
	@bash tests/deps.sh --quiet
	@$(AGAIN) CUDA=$(HERE_CUDA) all
	@printf '\n$$ %s\n%s' '$(B)/sluice run $(DEMO) --prompt "$(STORY)" --temperature 0' '$(STORY)'
	@$(B)/sluice run $(DEMO) --prompt "$(STORY)" --temperature 0
	@printf '\n$$ %s\n' '$(B)/sluice run $(DEMO) --chat --prompt "$(QUESTION)" --temperature 0'
	@$(B)/sluice run $(DEMO) --chat --prompt "$(QUESTION)" --temperature 0
	@printf '\nNow yours: %s\n' '$(B)/sluice MODEL, or $(B)/sluice $(DEMO)'

.PHONY: test-programs
test-programs: $(BINARIES) $(TESTS) $(B)/tests/pretend.so
test: ## install what is missing, build, and run every test
	@bash tests/deps.sh --quiet
	@$(AGAIN) CUDA=$(HERE_CUDA) test-programs
	@bash tests/run.sh $(B)
.PHONY: test-models
test-models: ## every reference model beside its reference, into tests/MODELS.md: within 2e-4 and greedy text equal, or an error
	@$(AGAIN) CUDA=$(HERE_CUDA) all $(B)/tests/test_models >/dev/null
	@$(B)/tests/test_models --table > $(B)/MODELS.md && cp $(B)/MODELS.md tests/MODELS.md && cat tests/MODELS.md
.PHONY: test-opens
test-opens: ## every published config, tokenizer and template in tests/data opens
	@$(AGAIN) CUDA=$(HERE_CUDA) all >/dev/null
	@bash tests/open_all.sh $(B)
# Longer forms of tests that make test has a short form of.
RUNS ?= 400
SEED ?= 1
.PHONY: test-kill
test-kill: ## signals to random processes at random moments: RUNS=400 SEED=1
	@$(AGAIN) CUDA=$(HERE_CUDA) all $(B)/tests/test_kill
	@SLUICE_BUILD=$(abspath $(B)) $(B)/tests/test_kill $(RUNS) $(SEED)
SWEEPS ?= 10000
REQUESTS ?= 10000
.PHONY: soak
soak: ## SWEEPS=10000 of the demo model, and REQUESTS=10000 to a server: memory, descriptors and names stay as they are
	@$(AGAIN) CUDA=$(HERE_CUDA) all $(B)/tests/test_soak $(B)/tests/test_serve_soak
	@$(B)/tests/test_soak $(SWEEPS)
	@$(B)/tests/test_serve_soak $(REQUESTS)
.PHONY: test-faults
test-faults: ## build one that takes --fault, into build/faults, and let the whole program meet faults from below
	@$(AGAIN) B=$(B)/faults CUDA=no EXTRA_CPPFLAGS=-DSLUICE_FAULTS all $(patsubst %,$(B)/faults/tests/%,$(FAULT_TESTS))
	@bash tests/run.sh $(B)/faults $(patsubst %,$(B)/faults/tests/%,$(FAULT_TESTS))
FAULT_TESTS := test_faults test_reader_faults test_supervision
.PHONY: test-budgets
test-budgets: ## every family, context and chunk in a memory cgroup that allows its --host-memory and no more (minutes)
	@$(AGAIN) CUDA=no all $(B)/tests/test_memory_budgets
	@SLUICE_BUILD=$(abspath $(B)) $(B)/tests/test_memory_budgets full
PACK_KILLS ?= 100
.PHONY: test-pack-kill
test-pack-kill: ## kill -9 of pack and unpack at random moments, resumed: the same bytes: PACK_KILLS=100
	@$(AGAIN) CUDA=no all $(B)/tests/test_pack
	@SLUICE_BUILD=$(abspath $(B)) $(B)/tests/test_pack killed_and_continued $$(( ($(PACK_KILLS) + 2) / 3 ))
UNITS ?= 1000000
.PHONY: test-units
test-units: ## UNITS=1000000 packed units of any size and kind come back bit for bit, and as many damaged ones stay within their bytes
	@$(AGAIN) CUDA=no $(B)/tests/test_unit
	@$(B)/tests/test_unit odd_sizes $(UNITS)
	@$(B)/tests/test_unit damage_stays_inside $(UNITS)
.PHONY: test-pack-all
test-pack-all: ## every reference model packed, verified, run and unpacked: the same sums, files and logits (minutes)
	@$(AGAIN) CUDA=no all $(B)/tests/test_pack_models
	@SLUICE_BUILD=$(abspath $(B)) $(B)/tests/test_pack_models full
.PHONY: test-speculation
test-speculation: ## thousands of trees of guesses over every family: the plain run's bytes (minutes)
	@$(AGAIN) CUDA=no all $(B)/tests/test_speculation
	@SLUICE_BUILD=$(abspath $(B)) $(B)/tests/test_speculation full
cuda-archs: ## what the cuda backend is built for with this nvcc
	@echo 'kernels for $(CUDA_ARCHS), PTX of $(CUDA_PTX)'
.PHONY: test-arm
test-arm: ## build for 64-bit ARM with Debian's cross compiler; kernels, rings, all models under qemu, byte by byte beside this machine's (long)
	@CCACHE=$(firstword $(filter ccache,$(CC))) bash tests/arm.sh $(B)
cuda-check: ## compile and link the cuda backend for one architecture; skipped without the toolkit
	@if [ "$(CUDA)" = yes ]; then $(AGAIN) B=$(B)/cuda CUDA_ARCHS=80 all; else echo 'cuda-check: skipped, there is no nvcc'; fi
include tests/gpu/gpu.mk
include tests/fuzz/fuzz.mk

# The sanitizers' own builds. Their instrumentation makes gcc see ghosts of uninitialized variables.
ASAN := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
asan: ## build and test with the address and undefined-behaviour sanitizers
	@$(AGAIN) B=$(B)/asan CUDA=no WERROR=1 EXTRA_CFLAGS="$(ASAN) -Wno-maybe-uninitialized" EXTRA_LDFLAGS="$(ASAN)" test-programs
	@TEST_SECONDS=300 bash tests/run.sh $(B)/asan
TSAN := -fsanitize=thread
TSAN_TESTS = $(patsubst %,$(B)/tests/%,test_ring test_ring_stress test_pool test_engine test_reader test_reader_rows test_reader_faults test_transfer)
tsan: ## test rings, the reader's and transfer's threads and the kernels' pool with the thread sanitizer
	@$(AGAIN) B=$(B)/tsan CUDA=no WERROR=1 EXTRA_CFLAGS="$(TSAN) -Wno-tsan" EXTRA_LDFLAGS="$(TSAN)" tsan-programs
	@TEST_SECONDS=300 bash tests/run.sh $(B)/tsan $(patsubst $(B)/%,$(B)/tsan/%,$(TSAN_TESTS))
.PHONY: tsan-programs
tsan-programs: $(TSAN_TESTS)

check-deps: ## prove that a process includes proto/ and itself only, a room what lies below it
	@bash tests/check_deps.sh $(wildcard $(B))
LINTED = $(sort $(shell find proto reader transfer compute coordinator -name '*.c' -not -path '*/cuda/*'))
FORMATTED = $(sort $(shell find proto reader transfer compute coordinator tests bench -name '*.[ch]' -not -path '*/data/*'))
lint: ## clang-tidy or cppcheck without a finding; the format, where clang-format 14 is there (others lay out differently)
	@if clang-format --version 2>/dev/null | grep -q 'version 14'; then clang-format --dry-run -Werror $(FORMATTED); \
	else echo 'lint: the format was not looked at, there is no clang-format 14'; fi
	@if command -v clang-tidy >/dev/null; then \
	    printf '%s\n' $(LINTED) | xargs -P $$(nproc) -n 4 clang-tidy --quiet \
	        $(foreach f,$(CPPFLAGS) -std=gnu17,--extra-arg=$(f)) 2>/dev/null; \
	elif command -v cppcheck >/dev/null; then \
	    cppcheck --quiet --error-exitcode=1 --inline-suppr --enable=warning,portability -I. -D_GNU_SOURCE $(LINTED); \
	else echo 'lint: please install clang-tidy or cppcheck' >&2; exit 1; fi
	@echo 'lint: no finding'
format: ## clang-format over everything
	@clang-format -i $(FORMATTED)

$(B)/sluice.1: $(B)/sluice
	$< --man-page > $@.new && mv $@.new $@
COMPLETIONS := $(B)/completion.bash $(B)/completion.zsh $(B)/completion.fish
$(COMPLETIONS): $(B)/completion.%: $(B)/sluice
	$< completion $* > $@.new && mv $@.new $@
# The shell puts the place together, so that spaces and the like in it are its own; install makes folders and files that
# all may read, whatever the umask.
export DESTDIR PREFIX
INSTALLED := "$$DESTDIR$$PREFIX"
INSTALL_BASH := $(INSTALLED)/share/bash-completion/completions/sluice
INSTALL_ZSH  := $(INSTALLED)/share/zsh/site-functions/_sluice
INSTALL_FISH := $(INSTALLED)/share/fish/vendor_completions.d/sluice.fish
INSTALL_MAN  := $(INSTALLED)/share/man/man1/sluice.1
install: all $(B)/sluice.1 $(COMPLETIONS) ## install below PREFIX (and DESTDIR): sluice, its stages, man page, completions
	install -D -m 755 $(B)/sluice $(INSTALLED)/bin/sluice
	for stage in $(STAGES); do install -D -m 755 "$$stage" $(INSTALLED)/libexec/sluice/"$${stage##*/}" || exit 1; done
	install -D -m 644 $(B)/sluice.1 $(INSTALL_MAN)
	install -D -m 644 $(B)/completion.bash $(INSTALL_BASH)
	install -D -m 644 $(B)/completion.zsh $(INSTALL_ZSH)
	install -D -m 644 $(B)/completion.fish $(INSTALL_FISH)
uninstall: ## remove what install has put there
	rm -f $(INSTALLED)/bin/sluice $(INSTALL_MAN) $(INSTALL_BASH) $(INSTALL_ZSH) $(INSTALL_FISH)
	rm -rf $(INSTALLED)/libexec/sluice

clean: ## remove build/
	rm -rf $(B)
help: ## this list
	@grep -hE '^[a-z][a-z-]*:.*##' $(MAKEFILE_LIST) | sort | sed -E 's/:.*## /\t/' | expand -t 16

-include $(shell find $(B)/obj -name '*.d' 2>/dev/null)
