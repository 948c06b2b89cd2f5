// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory that KVM reads for its guest: the hart masks of SBI 0.1.
 *
 * The legacy extensions (SBI 3.0, chapter 5) take the virtual address of a mask. KVM
 * reads it as the guest would. Where the guest has mapped nothing, the guest takes the
 * page fault of that load, at the call, and loses nothing by it but the call. Bits of
 * harts that there are not mean nothing.
 */
#include <stdbool.h>
#include <linux/compiler.h>

#include "kselftest.h"
#include "kvm_util.h"
#include "processor.h"
#include "ucall_common.h"

#define NOT_SUPPORTED		(-2UL)
#define LOAD_PAGE_FAULT		13UL
#define SIP_SSIP		0x2UL
#define ROUNDS			100

/* Nothing is mapped there, with any number of levels */
#define UNMAPPED		0x3000000000UL

static const struct legacy_call {
	const char *name;
	unsigned long eid;
} calls[] = {
	{ "send IPI", 4 },
	{ "remote FENCE.I", 5 },
	{ "remote SFENCE.VMA", 6 },
	{ "remote SFENCE.VMA with ASID", 7 },
};

struct result {
	unsigned long error;
	unsigned long cause;
	unsigned long tval;
	bool at_call;
};

static unsigned long mask;

/* A call, and the trap that it ends with if it has one */
static struct result call(unsigned long eid, unsigned long address)
{
	register unsigned long a0 asm("a0") = address;
	register unsigned long a1 asm("a1") = 0;
	register unsigned long a2 asm("a2") = 0;
	register unsigned long a3 asm("a3") = 0;
	register unsigned long a7 asm("a7") = eid;
	unsigned long cause, tval, epc, pc, stvec;

	asm volatile("la	%[pc], 2f\n"
		     "csrrw	%[stvec], stvec, %[pc]\n"
		     "la	%[pc], 1f\n"
		     "li	%[cause], 0\n"
		     "li	%[tval], 0\n"
		     "mv	%[epc], %[pc]\n"
		     "1:\n"
		     "ecall\n"
		     "j		3f\n"
		     ".balign	4\n"
		     "2:\n"
		     "csrr	%[cause], scause\n"
		     "csrr	%[tval], stval\n"
		     "csrr	%[epc], sepc\n"
		     "3:\n"
		     "csrw	stvec, %[stvec]\n"
		     : "+r" (a0), "+r" (a1), [cause] "=&r" (cause), [tval] "=&r" (tval),
		       [epc] "=&r" (epc), [pc] "=&r" (pc), [stvec] "=&r" (stvec)
		     : "r" (a2), "r" (a3), "r" (a7) : "memory");

	return (struct result){ a0, cause, tval, epc == pc };
}

static bool software_interrupt(void)
{
	unsigned long sip;

	asm volatile("csrrc %0, sip, %1" : "=r" (sip) : "r" (SIP_SSIP) : "memory");
	return sip & SIP_SSIP;
}

static bool ends_in_fault(const struct result *r)
{
	return r->cause == LOAD_PAGE_FAULT && r->tval == UNMAPPED && r->at_call;
}

static void guest_code(void)
{
	struct result r;
	unsigned int i, n;

	/* A write, so that there is memory: KVM does not fetch it for a call */
	WRITE_ONCE(mask, 1);
	r = call(calls[0].eid, (unsigned long)&mask);
	if (r.error == NOT_SUPPORTED)
		GUEST_DONE();
	GUEST_SYNC_ARGS(0, !r.cause && !r.error && software_interrupt(), r.cause, r.tval, 0);

	WRITE_ONCE(mask, -1UL);
	r = call(calls[0].eid, (unsigned long)&mask);
	GUEST_SYNC_ARGS(1, !r.cause && !r.error && software_interrupt(), r.cause, r.tval, 0);

	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		for (n = 0; n < ROUNDS; n++) {
			r = call(calls[i].eid, UNMAPPED);
			if (!ends_in_fault(&r))
				break;
		}
		GUEST_SYNC_ARGS(2, n == ROUNDS && !software_interrupt(), r.cause, r.tval, 0);
	}
	GUEST_DONE();
}

/* Let the guest come to its next result */
static void check(struct kvm_vcpu *vcpu, const char *what, const char *name)
{
	struct ucall uc = { 0 };
	bool there;

	vcpu_run(vcpu);
	there = get_ucall(vcpu, &uc) == UCALL_SYNC;
	if (!there)
		ksft_print_msg("exit reason %u\n", vcpu->run->exit_reason);
	else if (!uc.args[2])
		ksft_print_msg("scause %#lx, stval %#lx\n", (unsigned long)uc.args[3],
			       (unsigned long)uc.args[4]);
	ksft_test_result(there && uc.args[2], "%s: %s\n", name, what);
}

int main(void)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	struct ucall uc;
	unsigned int i;

	ksft_print_header();
	vm = vm_create_with_one_vcpu(&vcpu, guest_code);
	vcpu_run(vcpu);
	if (get_ucall(vcpu, &uc) == UCALL_DONE)
		ksft_exit_skip("KVM does not offer the legacy SBI extensions\n");
	kvm_vm_free(vm);

	ksft_set_plan(ARRAY_SIZE(calls) + 2);
	vm = vm_create_with_one_vcpu(&vcpu, guest_code);
	check(vcpu, "mask that is mapped", calls[0].name);
	check(vcpu, "harts that are not there", calls[0].name);
	for (i = 0; i < ARRAY_SIZE(calls); i++)
		check(vcpu, "mask that is not mapped", calls[i].name);
	kvm_vm_free(vm);
	ksft_finished();
}
