// SPDX-License-Identifier: GPL-2.0-only
/*
 * Nested virtualization: who gets the H extension.
 *
 * With kvm.nested=1 every vCPU has it that userspace does not take it from;
 * without, none can have it. Passes on hosts of both kinds.
 */
#include <errno.h>

#include "kvm_util.h"
#include "processor.h"
#include "nested.h"
#include "ucall_common.h"
#include "kselftest.h"

#define CAUSE_ILLEGAL	2

#define H_REG		RISCV_ISA_EXT_REG(KVM_RISCV_ISA_EXT_H)
#define VIRT_REG	RISCV_CORE_REG(virt)
#define HSTATUS_REG	__kvm_reg_id(KVM_REG_RISCV_CSR, KVM_REG_RISCV_CSR_HEXT,	\
				     KVM_REG_RISCV_CSR_HEXT_REG(hstatus),	\
				     KVM_REG_SIZE_ULONG)

static u64 illegal;

static void l1_illegal(struct pt_regs *regs)
{
	illegal++;
	regs->epc += 4;
}

/* What only harts with the H extension know; tells how much of it is illegal */
static void l1_code(void)
{
	for (;;) {
		WRITE_ONCE(illegal, 0);
		csr_read(CSR_HSTATUS);
		csr_read(CSR_VSSTATUS);
		csr_read(CSR_HGATP);
		nested_hfence_gvma();
		nested_hfence_vvma();
		GUEST_SYNC(READ_ONCE(illegal));
	}
}

/* How many of these five are illegal, or -1 */
static long run(struct kvm_vcpu *vcpu)
{
	struct ucall uc;

	vcpu_run(vcpu);

	return get_ucall(vcpu, &uc) == UCALL_SYNC ? (long)uc.args[1] : -1;
}

static struct kvm_vm *create(struct kvm_vcpu **vcpu)
{
	struct kvm_vm *vm = vm_create_with_one_vcpu(vcpu, l1_code);

	vm_init_vector_tables(vm);
	vcpu_init_vector_tables(*vcpu);
	vm_install_exception_handler(vm, CAUSE_ILLEGAL, l1_illegal);

	return vm;
}

static bool set_gives(struct kvm_vcpu *vcpu, u64 val, int err)
{
	int ret = __vcpu_set_reg(vcpu, H_REG, val);

	return err ? ret && errno == err : !ret;
}

/* Neither the registers nor the instructions of the extension are there */
static bool has_none(struct kvm_vcpu *vcpu)
{
	const u64 regs[] = { VIRT_REG, HSTATUS_REG };
	u64 val = 0;
	int i;

	for (i = 0; i < ARRAY_SIZE(regs); i++) {
		if (!__vcpu_get_reg(vcpu, regs[i], &val) || errno != ENOENT ||
		    !__vcpu_set_reg(vcpu, regs[i], 0) || errno != ENOENT)
			return false;
	}

	return vcpu_get_reg(vcpu, H_REG) == 0 && run(vcpu) == 5;
}

static bool has_all(struct kvm_vcpu *vcpu)
{
	u64 val = 0;

	return vcpu_get_reg(vcpu, H_REG) == 1 &&
	       !__vcpu_get_reg(vcpu, VIRT_REG, &val) && val == KVM_RISCV_VIRT_OFF &&
	       !__vcpu_get_reg(vcpu, HSTATUS_REG, &val) && run(vcpu) == 0;
}

static bool nested_param(void)
{
	FILE *f = fopen("/sys/module/kvm/parameters/nested", "r");
	int c = f ? getc(f) : EOF;

	if (f)
		fclose(f);

	return c == 'Y';
}

static void test_refused(void)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm = create(&vcpu);

	ksft_test_result(set_gives(vcpu, 1, EINVAL) && set_gives(vcpu, 0, 0) &&
			 has_none(vcpu), "not before the first run\n");
	ksft_test_result(!set_gives(vcpu, 1, 0) && set_gives(vcpu, 0, 0) &&
			 has_none(vcpu), "not later\n");
	kvm_vm_free(vm);
}

static void test_offered(void)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm = create(&vcpu);

	ksft_test_result(set_gives(vcpu, 0, 0) && set_gives(vcpu, 1, 0) &&
			 has_all(vcpu), "taken away and given back\n");
	ksft_test_result(set_gives(vcpu, 0, EBUSY) && set_gives(vcpu, 1, 0) &&
			 has_all(vcpu), "not taken away later\n");
	kvm_vm_free(vm);

	vm = create(&vcpu);
	ksft_test_result(set_gives(vcpu, 0, 0) && has_none(vcpu), "taken away\n");
	ksft_test_result(set_gives(vcpu, 1, EBUSY) && set_gives(vcpu, 0, 0) &&
			 has_none(vcpu), "not given back later\n");
	kvm_vm_free(vm);
}

int main(void)
{
	bool offered = nested_supported();

	ksft_print_header();
	if (!offered && nested_param())
		ksft_exit_skip("kvm.nested is set, but this host cannot offer the H extension\n");
	ksft_set_plan(offered ? 5 : 3);
	ksft_test_result(offered == nested_param(), "offered with kvm.nested only\n");
	if (offered)
		test_offered();
	else
		test_refused();
	ksft_finished();
}
