# Tests of the cuda backend, included by the Makefile.
#
#   make test-gpu        on a GPU: the operations against the reference, the reference models through all processes
#   make test-emulated   the same programs and models without one: the backend's own sources compiled for the processor,
#                        kernels run thread by thread (tests/gpu/emulated)
REFERENCE := $(patsubst %.c,$(B)/obj/%.o,$(sort $(wildcard compute/cpu/reference*.c)))
GPU_TESTS := $(patsubst tests/gpu/%.c,%,$(sort $(wildcard tests/gpu/test_*.c)))

# On the device: $(B)/gpu/test_*
$(B)/gpu/test_%: $(B)/obj/tests/gpu/test_%.o $(B)/obj/tests/gpu/gpu.o $(B)/obj/tests/support_forms.o $(B)/obj/tests/support_units.o $(REFERENCE) $(B)/libcompute_cuda.a $(call LIB,proto)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lcmocka $(LIBS_cuda) $(LIBS_compute) $(LIBS_proto)

# What a card gives: on the device, and emulated, where it shows only that it runs.
$(B)/gpu/gpu_bench: $(B)/obj/bench/gpu_bench.o $(B)/libcompute_cuda.a $(call LIB,proto)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS_cuda) $(LIBS_compute) $(LIBS_proto)
$(B)/obj/bench/gpu_bench.o: CPPFLAGS += -isystem $(CUDA_HOME)/include

# Emulated: $(EMU)/sluice-*-cuda beside a reader, and the tests one level below, as everywhere.
EMU := $(B)/emulated
EMULATED := -Itests/gpu/emulated $(CPPFLAGS)
EMULATED_CUDA = $(patsubst %,$(EMU)/obj/%.o,$(wildcard $(1)/cuda/*.c $(1)/cuda/*.cu)) $(EMU)/obj/tests/gpu/emulated/emulated.cpp.o $(EMU)/obj/tests/gpu/emulated/streams.cpp.o
$(EMU)/obj/%.c.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(EMULATED) $(CFLAGS) -MMD -MP -c $< -o $@
$(EMU)/obj/%.cu.o: %.cu
	@mkdir -p $(@D)
	$(call say,CXX,$<)
	$(Q)$(CXX) $(EMULATED) -std=c++17 -O1 -g -ffp-contract=off -Wall -Wextra $(ERRORS) -Wno-unknown-pragmas $(EXTRA_CFLAGS) -MMD -MP -x c++ -c $< -o $@
$(EMU)/obj/%.cpp.o: %.cpp
	@mkdir -p $(@D)
	$(call say,CXX,$<)
	$(Q)$(CXX) $(EMULATED) -std=c++17 -O2 -g -Wall -Wextra $(ERRORS) $(EXTRA_CFLAGS) -MMD -MP -c $< -o $@
$(EMU)/sluice-compute-cuda: $(B)/obj/compute/main.o $(call EMULATED_CUDA,compute) $(call LIB,compute) $(call LIB,proto)
	$(call say,LINK,$@)
	$(Q)$(CXX) $(LDFLAGS) -o $@ $(B)/obj/compute/main.o $(call LIB,compute) $(call EMULATED_CUDA,compute) $(call LIB,compute) $(call LIB,proto) $(LIBS_compute) $(LIBS_proto)
$(EMU)/sluice-transfer-cuda: $(B)/obj/transfer/main.o $(call EMULATED_CUDA,transfer) $(call LIB,transfer) $(call LIB,proto)
	$(call say,LINK,$@)
	$(Q)$(CXX) $(LDFLAGS) -o $@ $(B)/obj/transfer/main.o $(call LIB,transfer) $(call EMULATED_CUDA,transfer) $(call LIB,transfer) $(call LIB,proto) $(LIBS_proto)
EMU_LINKS := $(patsubst %,$(EMU)/tests/sluice-%,reader compute-cuda transfer-cuda)
$(EMU_LINKS):
	@mkdir -p $(@D)
	@ln -sfn ../$(@F) $@
$(EMU)/gpu_bench: $(EMU)/obj/bench/gpu_bench.c.o $(call EMULATED_CUDA,compute) $(call LIB,proto)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CXX) $(LDFLAGS) -o $@ $^ $(LIBS_compute) $(LIBS_proto)
DEVICE_TESTS := $(patsubst tests/gpu/emulated/%.c,$(EMU)/tests/%,$(sort $(wildcard tests/gpu/emulated/test_device_*.c)))
$(EMU)/tests/test_goldens $(DEVICE_TESTS): | $(EMU_LINKS)
$(EMU)/sluice $(EMU)/sluice-reader $(EMU)/sluice-transfer-cpu $(EMU)/sluice-compute-cpu $(EMU)/tests/test_goldens: $(EMU)/%: $(B)/%
	@mkdir -p $(@D)
	cp $< $@
$(B)/tests/pretend.so: tests/gpu/emulated/pretend.c
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(filter-out -fsanitize=%,$(CFLAGS)) -shared -fPIC -o $@ $<
$(EMU)/tests/test_cuda_%: $(B)/obj/tests/gpu/test_cuda_%.o $(B)/obj/tests/gpu/gpu.o $(B)/obj/tests/support_forms.o $(B)/obj/tests/support_units.o $(REFERENCE) $(call EMULATED_CUDA,compute) $(call LIB,proto)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CXX) $(LDFLAGS) -o $@ $^ -lcmocka $(LIBS_compute) $(LIBS_proto)
$(EMU)/tests/test_device_%: $(EMU)/obj/tests/gpu/emulated/test_device_%.c.o $(EMU)/obj/tests/gpu/emulated/support_device.c.o $(SUPPORT) $(TESTLIBS)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) -Wl,--start-group $(TESTLIBS) -Wl,--end-group \
	    -lcmocka $(LIBS_coordinator) $(LIBS_reader) $(LIBS_verify) $(LIBS_proto)
EMULATED_ALL := $(EMU)/sluice $(EMU)/sluice-reader $(EMU)/sluice-transfer-cpu $(EMU)/sluice-compute-cpu $(EMU)/sluice-compute-cuda $(EMU)/sluice-transfer-cuda $(B)/tests/pretend.so $(EMU)/tests/test_goldens $(DEVICE_TESTS) \
                $(patsubst %,$(EMU)/tests/%,$(GPU_TESTS)) $(EMU)/gpu_bench

.PHONY: test-gpu test-emulated emulated-programs gpu-programs
gpu-programs: $(BINARIES) $(B)/tests/test_goldens $(patsubst %,$(B)/gpu/%,$(GPU_TESTS))
emulated-programs: $(EMULATED_ALL)

test-gpu: ## hold the cuda backend against the reference, on a GPU; skipped without one
	@if [ ! -e /dev/nvidia0 ]; then echo 'test-gpu: skipped, there is no NVIDIA GPU on this machine'; \
	elif [ "$(CUDA)" != yes ]; then echo 'test-gpu: skipped, there is no CUDA toolkit on this machine'; \
	else $(AGAIN) gpu-programs && for t in $(GPU_TESTS); do $(B)/gpu/$$t || exit 1; done && $(B)/tests/test_goldens --backend cuda; fi
test-emulated: ## the same with the backend's kernels run on the processor, thread by thread
	@$(AGAIN) CUDA=no emulated-programs
	@for t in $(GPU_TESTS); do $(EMU)/tests/$$t || exit 1; done
	@SLUICE_BUILD=$(realpath $(B))/emulated LD_PRELOAD=$(abspath $(B))/tests/pretend.so $(EMU)/tests/test_goldens --backend cuda
	@for t in $(DEVICE_TESTS); do \
	  SLUICE_BUILD=$(realpath $(B))/emulated LD_PRELOAD=$(abspath $(B))/tests/pretend.so $$t || exit 1; done
DRAWS ?= 3
SEED  ?= 1
.PHONY: test-emulated-long
test-emulated-long: ## every reference model on the emulated device, late and in pieces: DRAWS=3 of depths and slots, from SEED=1 on (hours)
	@$(AGAIN) CUDA=no emulated-programs
	@SLUICE_BUILD=$(realpath $(B))/emulated LD_PRELOAD=$(abspath $(B))/tests/pretend.so $(EMU)/tests/test_device_goldens $(DRAWS) $(SEED)
# All that a machine with a card and NVIDIA's driver needs, and nothing else: programs for one architecture, the libraries that
# they were linked with, reference models, the report.
BUNDLE_ARCH ?= 80
.PHONY: gpu-bundle gpu-bundle-programs
gpu-bundle-programs: $(BINARIES) $(B)/tests/test_goldens $(B)/bench/mkmodel $(B)/gpu/gpu_bench $(patsubst %,$(B)/gpu/%,$(GPU_TESTS))
gpu-bundle: ## build/sluice-gpu.tar.gz: programs for BUNDLE_ARCH=80 (and PTX of it) with their libraries, and gpu_report.sh
	@if [ "$(CUDA)" != yes ]; then echo 'gpu-bundle: skipped, there is no nvcc'; \
	else $(AGAIN) B=$(B)/bundle CUDA_ARCHS=$(BUNDLE_ARCH) gpu-bundle-programs && \
	  bash bench/gpu_bundle.sh $(B)/bundle $(B)/sluice-gpu.tar.gz; fi
-include $(shell find $(EMU)/obj -name "*.d" 2>/dev/null)
