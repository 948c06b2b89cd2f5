// SPDX-License-Identifier: GPL-2.0-only
/*
 * Nested virtualization: the state of the H extension for userspace.
 */

#include <linux/kvm_host.h>
#include <linux/nospec.h>
#include <asm/kvm_vcpu_nested.h>

/* CSR number of each member of struct kvm_riscv_hext_csr, 0 if RV64 has none */
static const u16 hext_csrs[] = {
	[KVM_REG_RISCV_CSR_HEXT_REG(hstatus)] = CSR_HSTATUS,
	[KVM_REG_RISCV_CSR_HEXT_REG(hedeleg)] = CSR_HEDELEG,
	[KVM_REG_RISCV_CSR_HEXT_REG(hideleg)] = CSR_HIDELEG,
	[KVM_REG_RISCV_CSR_HEXT_REG(hvip)] = CSR_HVIP,
	[KVM_REG_RISCV_CSR_HEXT_REG(hcounteren)] = CSR_HCOUNTEREN,
	[KVM_REG_RISCV_CSR_HEXT_REG(htimedelta)] = CSR_HTIMEDELTA,
	[KVM_REG_RISCV_CSR_HEXT_REG(htval)] = CSR_HTVAL,
	[KVM_REG_RISCV_CSR_HEXT_REG(htinst)] = CSR_HTINST,
	[KVM_REG_RISCV_CSR_HEXT_REG(henvcfg)] = CSR_HENVCFG,
	[KVM_REG_RISCV_CSR_HEXT_REG(hgatp)] = CSR_HGATP,
	[KVM_REG_RISCV_CSR_HEXT_REG(vsstatus)] = CSR_VSSTATUS,
	[KVM_REG_RISCV_CSR_HEXT_REG(vsie)] = CSR_VSIE,
	[KVM_REG_RISCV_CSR_HEXT_REG(vstvec)] = CSR_VSTVEC,
	[KVM_REG_RISCV_CSR_HEXT_REG(vsscratch)] = CSR_VSSCRATCH,
	[KVM_REG_RISCV_CSR_HEXT_REG(vsepc)] = CSR_VSEPC,
	[KVM_REG_RISCV_CSR_HEXT_REG(vscause)] = CSR_VSCAUSE,
	[KVM_REG_RISCV_CSR_HEXT_REG(vstval)] = CSR_VSTVAL,
	[KVM_REG_RISCV_CSR_HEXT_REG(vsatp)] = CSR_VSATP,
	[KVM_REG_RISCV_CSR_HEXT_REG(hie)] = CSR_HIE,
	[KVM_REG_RISCV_CSR_HEXT_REG(vstimecmp)] = CSR_VSTIMECMP,
	[KVM_REG_RISCV_CSR_HEXT_REG(hstateen0)] = CSR_HSTATEEN0,
	[KVM_REG_RISCV_CSR_HEXT_REG(hvictl)] = CSR_HVICTL,
	[KVM_REG_RISCV_CSR_HEXT_REG(hviprio1)] = CSR_HVIPRIO1,
	[KVM_REG_RISCV_CSR_HEXT_REG(hviprio2)] = CSR_HVIPRIO2,
	[KVM_REG_RISCV_CSR_HEXT_REG(vsiselect)] = CSR_VSISELECT,
};

static unsigned int hext_csr(unsigned long reg_num)
{
	if (reg_num >= ARRAY_SIZE(hext_csrs))
		return 0;

	return hext_csrs[array_index_nospec(reg_num, ARRAY_SIZE(hext_csrs))];
}

/**
 * kvm_riscv_nested_get_one_reg - read a CSR of the H extension for userspace
 * @vcpu: vCPU, not loaded
 * @reg_num: index in struct kvm_riscv_hext_csr
 * @val: where the value goes
 *
 * Return: 0, or -ENOENT if the vCPU has no such CSR.
 */
int kvm_riscv_nested_get_one_reg(struct kvm_vcpu *vcpu, unsigned long reg_num,
				 unsigned long *val)
{
	unsigned int csr = hext_csr(reg_num);

	if (!kvm_riscv_nested_vcpu(vcpu) || !csr)
		return -ENOENT;

	return kvm_riscv_nested_csr_read(vcpu, csr, val);
}

/**
 * kvm_riscv_nested_set_one_reg - write a CSR of the H extension for userspace
 * @vcpu: vCPU, not loaded
 * @reg_num: index in struct kvm_riscv_hext_csr
 * @val: value
 *
 * A value that L1 could not have read is refused and changes nothing, so that
 * a migration to a host which offers less fails there and not in the guest.
 *
 * Return: 0, -ENOENT if the vCPU has no such CSR, -EINVAL for such a value.
 */
int kvm_riscv_nested_set_one_reg(struct kvm_vcpu *vcpu, unsigned long reg_num,
				 unsigned long val)
{
	unsigned int csr = hext_csr(reg_num);
	unsigned long old, new;
	int ret;

	ret = kvm_riscv_nested_get_one_reg(vcpu, reg_num, &old);
	if (ret)
		return ret;

	kvm_riscv_nested_csr_write(vcpu, csr, val);
	kvm_riscv_nested_csr_read(vcpu, csr, &new);
	if (new != val) {
		kvm_riscv_nested_csr_write(vcpu, csr, old);
		return -EINVAL;
	}

	return 0;
}

/**
 * kvm_riscv_nested_reg_indices - list the CSRs of the H extension
 * @vcpu: the vCPU
 * @uindices: where their ONE_REG indices go, or NULL to count only
 *
 * Return: their number, or -EFAULT.
 */
int kvm_riscv_nested_reg_indices(const struct kvm_vcpu *vcpu, u64 __user *uindices)
{
	unsigned long val;
	int i, n = 0;
	u64 reg;

	for (i = 0; i < ARRAY_SIZE(hext_csrs); i++) {
		/* Reading does not change anything */
		if (kvm_riscv_nested_get_one_reg((struct kvm_vcpu *)vcpu, i, &val))
			continue;

		reg = KVM_REG_RISCV | KVM_REG_SIZE_U64 | KVM_REG_RISCV_CSR |
		      KVM_REG_RISCV_CSR_HEXT | i;
		if (uindices && put_user(reg, uindices + n))
			return -EFAULT;
		n++;
	}

	return n;
}
