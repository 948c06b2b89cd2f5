// SPDX-License-Identifier: GPL-2.0
/*
 * Has the hypervisor below refuse shared memory for nested acceleration: while
 * this module is loaded, each call that would share some sets a reserved bit,
 * for which the hypervisor has to return SBI_ERR_INVALID_PARAM. With hart=N, only
 * calls of that hart. With lose=1 the hypervisor forgets the memory that is shared
 * when the module is loaded, as it may when it moves the machine.
 */
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/ptrace.h>
#include <linux/smp.h>
#include <asm/sbi.h>

static int hart = -1;
module_param(hart, int, 0444);
static bool lose;
module_param(lose, bool, 0444);

/* The arguments are where an ecall has them. */
static int ecall_entry(struct kprobe *p, struct pt_regs *regs)
{
	if (regs->a7 == SBI_EXT_NACL && regs->a6 == SBI_EXT_NACL_SET_SHMEM &&
	    regs->a0 != (unsigned long)SBI_SHMEM_DISABLE &&
	    (hart < 0 || hart == smp_processor_id()))
		regs->a2 = 1;
	return 0;
}

static struct kprobe ecall_probe = {
	.symbol_name = "__sbi_ecall",
	.pre_handler = ecall_entry,
};

static void forget(void *unused)
{
	sbi_ecall(SBI_EXT_NACL, SBI_EXT_NACL_SET_SHMEM,
		  SBI_SHMEM_DISABLE, SBI_SHMEM_DISABLE, 0, 0, 0, 0);
}

static int __init refuse_init(void)
{
	int rc = register_kprobe(&ecall_probe);

	if (!rc && lose)
		on_each_cpu(forget, NULL, 1);
	return rc;
}
module_init(refuse_init);

static void __exit refuse_exit(void)
{
	unregister_kprobe(&ecall_probe);
}
module_exit(refuse_exit);

MODULE_DESCRIPTION("Have shared memory for nested acceleration refused");
MODULE_LICENSE("GPL");
