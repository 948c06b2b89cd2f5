// SPDX-License-Identifier: GPL-2.0
/*
 * What an exit from a RISC-V guest costs.
 *
 * Measures, in guest time, the way from a guest instruction that leaves the
 * guest to the instruction after it, for each kind of exit that guests take
 * often. Where the machine's time advances with the instructions it executes
 * (QEMU's -icount shift=0: one nanosecond each), the figures are instruction
 * counts, exact and repeatable; elsewhere they are nanoseconds.
 *
 * Prints, for each kind, a line "cost KIND FIGURE" besides the TAP.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "kselftest.h"
#include "kvm_util.h"
#include "processor.h"
#include "sbi.h"
#include "ucall_common.h"

#define NSEC_PER_SECOND		1000000000ULL

#define MMIO_GPA		0x10000000UL
#define MMIO_GVA		0x10000000UL
#define FRESH_GPA		0xc0000000UL
#define FRESH_GVA		0xc0000000UL
#define TEST_PAGE_SIZE		4096UL
#define FRESH_SLOT		1
#define MAX_FRESH_PAGES		4096

/* A function of the selftests' SBI extension that the loop below just resumes. */
#define SBI_TEST_NOP		0x10

#define SBI_EXT_TIMER		0x54494D45

static unsigned long rounds = 2000;
static unsigned long fresh_pages = 256;
static bool without_h;

static void exit_none(unsigned long i)
{
	asm volatile("" : : "r" (i) : "memory");
}

static void exit_sbi_kernel(unsigned long i)
{
	sbi_ecall(SBI_EXT_BASE, SBI_EXT_BASE_GET_SPEC_VERSION, 0, 0, 0, 0, 0, 0);
}

static void exit_set_timer(unsigned long i)
{
	sbi_ecall(SBI_EXT_TIMER, 0, -1UL, 0, 0, 0, 0, 0);
}

static void exit_sbi_user(unsigned long i)
{
	sbi_ecall(KVM_RISCV_SELFTESTS_SBI_EXT, SBI_TEST_NOP, 0, 0, 0, 0, 0, 0);
}

static void exit_mmio(unsigned long i)
{
	READ_ONCE(*(uint32_t *)MMIO_GVA);
}

/* The G-stage has no entry for a page that this guest never used. */
static void exit_gstage_fault(unsigned long i)
{
	READ_ONCE(*(uint64_t *)(FRESH_GVA + i * TEST_PAGE_SIZE));
}

static const struct exit_kind {
	const char *name;
	void (*leave)(unsigned long i);
	const unsigned long *rounds;
} kinds[] = {
	/* First what the loop itself costs; it is taken off the others. */
	{ "none",		exit_none,		&rounds },
	{ "sbi-kernel",		exit_sbi_kernel,	&rounds },
	{ "set-timer",		exit_set_timer,		&rounds },
	{ "mmio-user",		exit_mmio,		&rounds },
	{ "sbi-user",		exit_sbi_user,		&rounds },
	{ "gstage-fault",	exit_gstage_fault,	&fresh_pages },
};

static void guest_code(unsigned long kind, unsigned long n)
{
	void (*leave)(unsigned long i) = kinds[kind].leave;
	unsigned long i, start, end;

	/* Once for what only the first exit pays. */
	leave(0);

	start = csr_read(CSR_TIME);
	for (i = 1; i <= n; i++)
		leave(i);
	end = csr_read(CSR_TIME);

	GUEST_SYNC(end - start);
	GUEST_DONE();
}

/* Resume the guest until it says how many ticks its loop took. */
static uint64_t run_loop(struct kvm_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	struct ucall uc;

	for (;;) {
		vcpu_run(vcpu);
		if (run->exit_reason == KVM_EXIT_MMIO)
			continue;
		if (run->exit_reason == KVM_EXIT_RISCV_SBI &&
		    run->riscv_sbi.function_id == SBI_TEST_NOP)
			continue;
		switch (get_ucall(vcpu, &uc)) {
		case UCALL_SYNC:
			return uc.args[1];
		case UCALL_ABORT:
			REPORT_GUEST_ASSERT(uc);
			break;
		default:
			TEST_FAIL("unexpected exit, reason %u", run->exit_reason);
		}
	}
}

/* A guest with the H extension could be a hypervisor, and its exits cost more. */
static void take_h(struct kvm_vcpu *vcpu)
{
	int ret = __vcpu_set_reg(vcpu, KVM_REG_RISCV | KVM_REG_SIZE_U64 |
				 KVM_REG_RISCV_ISA_EXT | KVM_RISCV_ISA_EXT_H, 0);

	TEST_ASSERT(!ret, "the H extension cannot be taken away: %s", strerror(errno));
}

static double measure(unsigned long kind, unsigned long n)
{
	struct kvm_vcpu *vcpu;
	uint64_t hz, ticks;
	struct kvm_vm *vm;
	void *fresh;
	int ret;

	vm = vm_create_with_one_vcpu(&vcpu, guest_code);
	if (without_h)
		take_h(vcpu);
	/* Without vectors an unexpected trap would loop in the guest for ever. */
	vm_init_vector_tables(vm);
	vcpu_init_vector_tables(vcpu);
	virt_map(vm, MMIO_GVA, MMIO_GPA, 1);

	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, FRESH_GPA,
				    FRESH_SLOT, fresh_pages + 1, 0);
	virt_map(vm, FRESH_GVA, FRESH_GPA, fresh_pages + 1);
	/* The host's pages are there already: only KVM's own work is measured. */
	fresh = addr_gpa2hva(vm, FRESH_GPA);
	madvise(fresh, (fresh_pages + 1) * TEST_PAGE_SIZE, MADV_NOHUGEPAGE);
	memset(fresh, 1, (fresh_pages + 1) * TEST_PAGE_SIZE);

	vcpu_args_set(vcpu, 2, kind, n);
	ret = __vcpu_get_reg(vcpu, KVM_REG_RISCV | KVM_REG_SIZE_U64 |
			     KVM_REG_RISCV_TIMER |
			     KVM_REG_RISCV_TIMER_REG(frequency), &hz);
	TEST_ASSERT(!ret && hz, "no timer frequency");

	ticks = run_loop(vcpu);
	kvm_vm_free(vm);

	return (double)ticks * NSEC_PER_SECOND / hz / n;
}

/* The empty loop is always needed. */
static bool wanted(unsigned int kind, const char *only)
{
	return !kind || !only || !strcmp(kinds[kind].name, only);
}

static void help(const char *name)
{
	printf("usage: %s [-H] [-k kind] [-n rounds] [-p pages]\n"
	       "  -H  without the H extension, if KVM would give it to the guest\n"
	       "  -k  measure only this kind of exit\n"
	       "  -n  times that each exit is taken (default %lu)\n"
	       "  -p  pages of the G-stage fault, 1 to %d (default %lu)\n",
	       name, rounds, MAX_FRESH_PAGES, fresh_pages);
	exit(KSFT_FAIL);
}

int main(int argc, char *argv[])
{
	unsigned int kind, planned = 0;
	const char *only = NULL;
	double loop = 0, cost;
	int opt;

	while ((opt = getopt(argc, argv, "Hk:n:p:")) != -1) {
		switch (opt) {
		case 'H':
			without_h = true;
			break;
		case 'k':
			only = optarg;
			break;
		case 'n':
			rounds = strtoul(optarg, NULL, 0);
			break;
		case 'p':
			fresh_pages = strtoul(optarg, NULL, 0);
			break;
		default:
			help(argv[0]);
		}
	}
	if (!rounds || !fresh_pages || fresh_pages > MAX_FRESH_PAGES)
		help(argv[0]);

	ksft_print_header();
	for (kind = 0; kind < ARRAY_SIZE(kinds); kind++)
		planned += wanted(kind, only);
	if (planned < 2)
		help(argv[0]);
	ksft_set_plan(planned);
	for (kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
		if (!wanted(kind, only))
			continue;
		cost = measure(kind, *kinds[kind].rounds);
		if (!kind)
			loop = cost;
		else
			printf("cost %s %.1f\n", kinds[kind].name, cost - loop);
		/* An exit that costs no more than not leaving was none. */
		ksft_test_result(!kind || cost > loop * 2, "%s\n", kinds[kind].name);
	}
	ksft_finished();
}
