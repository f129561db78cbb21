# sluice: build, test, install.  `make help` lists the targets.
.DEFAULT_GOAL := all
B       ?= build
CC      := gcc
PREFIX  ?= /usr/local
DESTDIR ?=
VERSION := 0.1.0

CPPFLAGS := -I. -D_GNU_SOURCE -DSLUICE_VERSION='"$(VERSION)"' $(EXTRA_CPPFLAGS)
WARN     := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wconversion -Wno-sign-conversion -Werror
# Same bits on every machine: no contraction but the fma that the kernels ask for by name.
CFLAGS   := -std=gnu17 -O2 -g -ffp-contract=off -fno-math-errno -pthread $(WARN) $(EXTRA_CFLAGS)
LDFLAGS  := -pthread $(EXTRA_LDFLAGS)

LIBS_proto       := -lzmq -lmsgpackc -lrt
LIBS_reader      := -luring
LIBS_coordinator := -ljansson -lpcre2-8 -lutf8proc -ledit -ldl -lm
LIBS_compute     := -lm

# One archive per room; main.c of a process is linked into its binary alone.
src     = $(sort $(filter-out %/main.c,$(foreach d,$(1),$(wildcard $(d)/*.c))))
obj     = $(patsubst %.c,$(B)/obj/%.o,$(1))
SRC_proto        := $(call src,proto)
SRC_reader       := $(call src,reader)
SRC_transfer     := $(call src,transfer)
SRC_transfer_cpu := $(call src,transfer/cpu)
SRC_compute      := $(call src,compute)
SRC_compute_cpu  := $(call src,compute/cpu)
SRC_coordinator  := $(call src,coordinator coordinator/cli coordinator/model coordinator/model/families \
                      coordinator/text coordinator/plan coordinator/run coordinator/view)
ROOMS := proto reader transfer transfer_cpu compute compute_cpu coordinator
LIB    = $(B)/lib$(1).a

BINARIES := $(B)/sluice $(B)/sluice-reader $(B)/sluice-transfer-cpu $(B)/sluice-compute-cpu

# CUDA: found by nvcc; CUDA=no builds without it.
NVCC := $(firstword $(wildcard /usr/local/cuda/bin/nvcc) $(shell command -v nvcc 2>/dev/null))
CUDA ?= $(if $(NVCC),yes,no)
ifeq ($(CUDA),yes)
CUDA_HOME  := $(patsubst %/bin/nvcc,%,$(NVCC))
CUDA_ARCHS ?= 75 80 86 89 90 100 120
CUDA_PTX   ?= $(lastword $(CUDA_ARCHS))
GENCODE    := $(foreach a,$(CUDA_ARCHS),-gencode arch=compute_$(a),code=sm_$(a)) -gencode arch=compute_$(CUDA_PTX),code=compute_$(CUDA_PTX)
NVCCFLAGS  := -std=c++17 -O3 -I. -D_GNU_SOURCE $(GENCODE) --threads 2 -Xcompiler -Wall,-Wextra -Werror all-warnings
SRC_transfer_cuda := $(call src,transfer/cuda)
SRC_compute_cuda  := $(call src,compute/cuda)
CU_transfer_cuda  := $(sort $(wildcard transfer/cuda/*.cu))
CU_compute_cuda   := $(sort $(wildcard compute/cuda/*.cu))
ROOMS    += transfer_cuda compute_cuda
BINARIES += $(B)/sluice-transfer-cuda $(B)/sluice-compute-cuda
LIBS_cuda := -L$(CUDA_HOME)/lib64 -Wl,-rpath,$(CUDA_HOME)/lib64 -lcudart -lcublas -lstdc++
endif

define room
OBJ_$(1) := $(call obj,$(SRC_$(1))) $(patsubst %.cu,$(B)/obj/%.cu.o,$(CU_$(1)))
$(B)/lib$(1).a: $$(OBJ_$(1))
	@rm -f $$@; ar rcsD $$@ $$^
endef
$(foreach r,$(ROOMS),$(eval $(call room,$(r))))

.PHONY: all help deps demo test test-gpu asan tsan lint check-deps install uninstall clean format
all: $(BINARIES) ## build everything into build/

$(B)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@
$(B)/obj/%.cu.o: %.cu
	@mkdir -p $(@D)
	$(NVCC) $(NVCCFLAGS) -MMD -MP -c $< -o $@
$(B)/obj/transfer/cuda/%.o $(B)/obj/compute/cuda/%.o: CPPFLAGS += -isystem $(CUDA_HOME)/include

link = $(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^
$(B)/sluice: $(B)/obj/coordinator/main.o $(call LIB,coordinator) $(call LIB,proto)
	$(link) $(LIBS_coordinator) $(LIBS_proto)
$(B)/sluice-reader: $(B)/obj/reader/main.o $(call LIB,reader) $(call LIB,proto)
	$(link) $(LIBS_reader) $(LIBS_proto)
$(B)/sluice-transfer-cpu: $(B)/obj/transfer/main.o $(call LIB,transfer) $(call LIB,transfer_cpu) $(call LIB,proto)
	$(link) $(LIBS_proto)
$(B)/sluice-compute-cpu: $(B)/obj/compute/main.o $(call LIB,compute) $(call LIB,compute_cpu) $(call LIB,proto)
	$(link) $(LIBS_compute) $(LIBS_proto)
$(B)/sluice-transfer-cuda: $(B)/obj/transfer/main.o $(call LIB,transfer) $(call LIB,transfer_cuda) $(call LIB,proto)
	$(link) $(LIBS_cuda) $(LIBS_proto)
$(B)/sluice-compute-cuda: $(B)/obj/compute/main.o $(call LIB,compute) $(call LIB,compute_cuda) $(call LIB,proto)
	$(link) $(LIBS_cuda) $(LIBS_compute) $(LIBS_proto)

# Tests: tests/test_SUBJECT.c is one cmocka program; tests/support*.c is shared by all of them.
TESTS   := $(patsubst tests/%.c,$(B)/tests/%,$(sort $(wildcard tests/test_*.c)))
SUPPORT := $(call obj,$(sort $(filter-out $(wildcard tests/test_*.c),$(wildcard tests/*.c))))
TESTLIBS := $(call LIB,coordinator) $(call LIB,reader) $(call LIB,transfer) $(call LIB,transfer_cpu) \
            $(call LIB,compute) $(call LIB,compute_cpu) $(call LIB,proto)
$(B)/tests/test_%: $(B)/obj/tests/test_%.o $(SUPPORT) $(TESTLIBS)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) -Wl,--start-group $(TESTLIBS) -Wl,--end-group \
	    -lcmocka $(LIBS_coordinator) $(LIBS_reader) $(LIBS_proto)
.PRECIOUS: $(B)/obj/%.o

clean: ## remove build/
	rm -rf $(B)
help: ## this list
	@grep -hE '^[a-z][a-z-]*:.*##' $(MAKEFILE_LIST) | sort | sed -E 's/:.*## /\t/' | expand -t 16

-include $(shell find $(B)/obj -name '*.d' 2>/dev/null)
