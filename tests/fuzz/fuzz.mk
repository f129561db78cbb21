# Fuzzing, included by the Makefile.
#
#   make fuzz SECONDS=60 [TARGET=config]   libFuzzer: address and undefined-behaviour sanitizers, clang and its runtimes
#   test_fuzz_cases                        the same targets in every build, without a fuzzer (part of make test)
FUZZ_TARGETS := $(filter-out entry fail folder json targets text,$(patsubst tests/fuzz/%.c,%,$(sort $(wildcard tests/fuzz/*.c))))
FUZZ_OBJ     := $(patsubst tests/fuzz/%.c,$(B)/obj/tests/fuzz/%.o,$(filter-out tests/fuzz/entry.c,$(sort $(wildcard tests/fuzz/*.c))))
FUZZ_HELP    := $(patsubst %,$(B)/obj/tests/%.o,fuzz/fail fuzz/folder fuzz/json fuzz/text support_temporary support_walk support_program support_gguf support_units)

$(B)/tests/test_fuzz_cases: $(FUZZ_OBJ)

# One program for each target: it links what it reaches, so that its coverage is about that.
$(B)/fuzz_%: tests/fuzz/entry.c $(B)/obj/tests/fuzz/%.o $(FUZZ_HELP) $(call LIB,coordinator) $(call LIB,proto)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -DFUZZ_TARGET=fuzz_$* -fsanitize=fuzzer $(LDFLAGS) -o $@ $^ $(LIBS_coordinator) $(LIBS_proto)
.PHONY: fuzz fuzz-programs
fuzz-programs: $(patsubst %,$(B)/fuzz_%,$(or $(TARGET),$(FUZZ_TARGETS)))

SECONDS ?= 10
FUZZING := -fsanitize=address,undefined -fsanitize=fuzzer-no-link -fno-sanitize=vptr -fno-sanitize-recover=undefined -fno-omit-frame-pointer
fuzz: ## fuzz what reads untrusted bytes: SECONDS=10 each, TARGET=all; what fails is kept below build/fuzz
	@command -v clang++ >/dev/null || { echo 'fuzz: please install clang and its runtimes (Debian: clang, libclang-rt-14-dev)' >&2; exit 1; }
	+@$(AGAIN) B=$(B)/fuzz CUDA=no CC='$(FUZZ_CC)' CXX='$(FUZZ_CXX)' WARN=-w EXTRA_CFLAGS="$(FUZZING)" EXTRA_LDFLAGS="$(FUZZING)" fuzz-programs
	@bash tests/fuzz/run.sh $(B)/fuzz $(SECONDS) $(or $(TARGET),$(FUZZ_TARGETS))
FUZZ_CC  := clang
FUZZ_CXX := clang++
