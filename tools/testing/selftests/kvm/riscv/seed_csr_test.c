// SPDX-License-Identifier: GPL-2.0
/*
 * The entropy source of a guest, CSR seed of Zkr.
 *
 * The unprivileged specification has a hypervisor emulate it: where M-mode lets
 * S-mode read it, the access of VS-mode traps as a virtual instruction. KVM
 * leaves the value to userspace, by KVM_EXIT_RISCV_CSR. For a guest that is not
 * told of Zkr, it is a CSR that does not exist.
 */
#include "kselftest.h"
#include "kvm_util.h"
#include "processor.h"
#include "ucall_common.h"

/* OPST is ES16: 16 bits of entropy are in the value */
#define SEED_ES16		(2UL << 30)
#define ENTROPY			0x5eedUL
#define WRITTEN			0x15UL
#define NO_TRAP			(-1UL)

static unsigned long cause = NO_TRAP;

static void on_trap(struct ex_regs *regs)
{
	cause = regs->cause;
	regs->epc += 4;
}

/* The specification has software access it with a write; most use csrrw. */
static void guest_code(void)
{
	unsigned long val = 0, kept = WRITTEN;

	asm volatile("csrrw %0, " __stringify(CSR_SEED) ", %1"
		     : "=&r" (val) : "r" (kept));
	GUEST_SYNC_ARGS(1, val, kept, cause, 0);

	asm volatile("csrrw zero, " __stringify(CSR_SEED) ", zero");
	GUEST_SYNC_ARGS(2, 0, 0, cause, 0);
	GUEST_DONE();
}

static struct kvm_vm *new_vm(struct kvm_vcpu **vcpu)
{
	struct kvm_vm *vm = vm_create_with_one_vcpu(vcpu, guest_code);

	vm_init_vector_tables(vm);
	vcpu_init_vector_tables(*vcpu);
	vm_install_exception_handler(vm, EXC_INST_ILLEGAL, on_trap);
	return vm;
}

/* Run up to the exit for the CSR; what it says goes to the log if it is another */
static bool exits_for(struct kvm_vcpu *vcpu, unsigned long new_value)
{
	struct kvm_run *run = vcpu->run;

	vcpu_run(vcpu);
	if (run->exit_reason != KVM_EXIT_RISCV_CSR) {
		ksft_print_msg("exit reason %u\n", run->exit_reason);
		return false;
	}
	if (run->riscv_csr.csr_num == CSR_SEED &&
	    run->riscv_csr.write_mask == -1UL &&
	    run->riscv_csr.new_value == new_value)
		return true;
	ksft_print_msg("CSR %lx, mask %lx, value %lx\n", run->riscv_csr.csr_num,
		       run->riscv_csr.write_mask, run->riscv_csr.new_value);
	return false;
}

static void with_zkr(void)
{
	struct kvm_vcpu *vcpu;
	struct ucall uc = { };
	struct kvm_vm *vm;
	bool there;

	vm = new_vm(&vcpu);
	there = exits_for(vcpu, WRITTEN);
	ksft_test_result(there, "the access exits to userspace\n");
	if (there) {
		vcpu->run->riscv_csr.ret_value = SEED_ES16 | ENTROPY;
		vcpu_run(vcpu);
		get_ucall(vcpu, &uc);
	}
	ksft_test_result(uc.cmd == UCALL_SYNC && uc.args[1] == 1 &&
			 uc.args[2] == (SEED_ES16 | ENTROPY),
			 "the guest gets userspace's value\n");
	ksft_test_result(uc.cmd == UCALL_SYNC && uc.args[3] == WRITTEN &&
			 uc.args[4] == NO_TRAP, "and nothing else\n");

	there = there && exits_for(vcpu, 0);
	if (there) {
		vcpu->run->riscv_csr.ret_value = SEED_ES16 | ENTROPY;
		vcpu_run(vcpu);
		get_ucall(vcpu, &uc);
	}
	ksft_test_result(there && uc.cmd == UCALL_SYNC && uc.args[1] == 2,
			 "the access with x0 exits to userspace\n");
	kvm_vm_free(vm);
}

static void without_zkr(void)
{
	struct kvm_vcpu *vcpu;
	struct ucall uc = { };
	struct kvm_vm *vm;

	vm = new_vm(&vcpu);
	vcpu_run(vcpu);
	ksft_test_result(get_ucall(vcpu, &uc) == UCALL_SYNC && uc.args[1] == 1 &&
			 uc.args[4] == EXC_INST_ILLEGAL,
			 "an illegal instruction without Zkr\n");
	kvm_vm_free(vm);
}

int main(void)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	bool zkr;

	ksft_print_header();
	vm = vm_create_with_one_vcpu(&vcpu, guest_code);
	zkr = __vcpu_has_isa_ext(vcpu, KVM_RISCV_ISA_EXT_ZKR);
	kvm_vm_free(vm);

	ksft_set_plan(zkr ? 4 : 1);
	if (zkr)
		with_zkr();
	else
		without_zkr();
	ksft_finished();
}
