// SPDX-License-Identifier: GPL-2.0
/*
 * Traps of a guest's user mode that KVM hands to the guest's kernel.
 *
 * Exceptions from VU-mode that are not delegated come to KVM, which redirects
 * them to VS-mode. The guest's handler must run in VS-mode, whatever the mode
 * the trap comes from, and find cause, PC and mode of the trap in its CSRs, as
 * section "Trap Entry" of the privileged specification says for a trap that is
 * taken there directly.
 */
#include <string.h>

#include "kselftest.h"
#include "kvm_util.h"
#include "processor.h"
#include "ucall_common.h"

/* Of sstatus and of page table entries */
#define SR_SPP			BIT(8)
#define PTE_U			BIT(4)

/* A page of user code, every word of it: csrrw zero, cycle, zero */
#define UNIMP			0xc0001073U

struct trap {
	unsigned long cause;
	unsigned long epc;
	unsigned long status;
};

static struct trap trap;
static unsigned long resume;

/* Back to the kernel, wherever the trap came from. It runs in VS-mode only. */
static void on_trap(struct ex_regs *regs)
{
	trap.cause = regs->cause;
	trap.epc = regs->epc;
	trap.status = regs->status;
	regs->epc = resume;
	regs->status |= SR_SPP;
}

/* sret to @pc in the mode that @spp says, and come back behind the trap */
static void run_at(unsigned long pc, unsigned long spp)
{
	asm volatile("la	t0, 1f\n"
		     "sd	t0, (%0)\n"
		     "csrc	sstatus, %1\n"
		     "csrs	sstatus, %2\n"
		     "csrw	sepc, %3\n"
		     "sret\n"
		     "1:\n"
		     : : "r" (&resume), "r" (SR_SPP), "r" (spp), "r" (pc)
		     : "t0", "memory");
}

static void guest_code(unsigned long user, unsigned long kernel)
{
	run_at(kernel, SR_SPP);
	GUEST_SYNC_ARGS(1, trap.cause, trap.epc - kernel, trap.status & SR_SPP, 0);

	run_at(user, 0);
	GUEST_SYNC_ARGS(2, trap.cause, trap.epc - user, trap.status & SR_SPP, 0);
	GUEST_DONE();
}

/* The leaf of the guest's page table for @va */
static uint64_t *leaf_of(struct kvm_vm *vm, vm_vaddr_t va)
{
	uint64_t *table = addr_gpa2hva(vm, vm->pgd);
	int level;

	for (level = vm->pgtable_levels - 1; level; level--) {
		uint64_t pte = table[va >> (12 + 9 * level) & 511];

		table = addr_gpa2hva(vm, pte >> 10 << 12);
	}
	return &table[va >> 12 & 511];
}

static vm_vaddr_t code_page(struct kvm_vm *vm, uint64_t flags)
{
	vm_vaddr_t va = vm_vaddr_alloc_page(vm);
	unsigned int i;

	for (i = 0; i < vm->page_size / sizeof(uint32_t); i++)
		((uint32_t *)addr_gva2hva(vm, va))[i] = UNIMP;
	*leaf_of(vm, va) |= flags;
	return va;
}

static void check(struct kvm_vcpu *vcpu, const char *mode, unsigned long spp)
{
	struct ucall uc;
	bool there;

	vcpu_run(vcpu);
	there = get_ucall(vcpu, &uc) == UCALL_SYNC;
	if (!there)
		ksft_print_msg("exit reason %u\n", vcpu->run->exit_reason);
	ksft_test_result(there && uc.args[2] == EXC_INST_ILLEGAL,
			 "%s: cause\n", mode);
	ksft_test_result(there && uc.args[3] == 0, "%s: sepc\n", mode);
	ksft_test_result(there && uc.args[4] == spp, "%s: sstatus.SPP\n", mode);
}

int main(void)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	ksft_print_header();
	ksft_set_plan(6);

	vm = vm_create_with_one_vcpu(&vcpu, guest_code);
	vm_init_vector_tables(vm);
	vcpu_init_vector_tables(vcpu);
	vm_install_exception_handler(vm, EXC_INST_ILLEGAL, on_trap);
	/* What the handler's own address gives in VU-mode */
	vm_install_exception_handler(vm, EXC_INST_PAGE_FAULT, on_trap);
	vcpu_args_set(vcpu, 2, code_page(vm, PTE_U), code_page(vm, 0));

	check(vcpu, "VS-mode", SR_SPP);
	check(vcpu, "VU-mode", 0);

	kvm_vm_free(vm);
	ksft_finished();
}
