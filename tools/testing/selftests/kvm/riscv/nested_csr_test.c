// SPDX-License-Identifier: GPL-2.0-only
/*
 * Nested virtualization: the CSRs of the H extension as a guest sees them.
 *
 * The table is written from the privileged specification (chapter "H" Extension
 * for Hypervisor Support), Sstc, Smstateen and the Advanced Interrupt
 * Architecture. Masks that depend on the extensions of the vCPU are completed
 * at run time from what userspace gave it.
 */
#include "kvm_util.h"
#include "processor.h"
#include "nested.h"
#include "ucall_common.h"
#include "kselftest.h"

#define VS_IRQS		(BIT(2) | BIT(6) | BIT(10))
#define UXL_64		(2UL << 32)

enum need { ALWAYS, SSTC, SSAIA, SMSTATEEN };

/*
 * @ones: what reads back after all bits were written as one
 * @zeros: the same for zero, that is, the bits that are read-only one
 * @may: bits of @ones that the specification leaves to the implementation
 */
struct csr_case {
	u32 num;
	const char *name;
	enum need need;
	u64 ones;
	u64 zeros;
	u64 may;
};

#define ALL	(~0UL)

static const struct csr_case csrs[] = {
	/* Storage; vstvec and vsepc have WARL low bits, vscause is WLRL */
	{ 0x205, "vstvec", .ones = ALL & ~3UL, .may = 3 },
	{ 0x240, "vsscratch", .ones = ALL },
	{ 0x241, "vsepc", .ones = ALL & ~1UL },
	{ 0x242, "vscause", .ones = BIT(63) | GENMASK(4, 0), .may = GENMASK(62, 5) },
	{ 0x243, "vstval", .ones = ALL },
	{ 0x24d, "vstimecmp", SSTC, .ones = ALL },
	{ 0x250, "vsiselect", SSAIA, .ones = 0xff, .may = ~0xffUL },
	{ 0x605, "htimedelta", .ones = ALL },
	{ 0x643, "htval", .ones = ALL },
	{ 0x64a, "htinst", .ones = ALL },
	/* VTSR, VTW, VTVM, HU, SPVP, SPV, GVA; VSXL is 64; no VGEIN or VSBE */
	{ 0x600, "hstatus", .ones = UXL_64 | 0x7003c0,
	  .zeros = UXL_64 },
	/* 0 to 8, 12, 13, 15, 18 with Zicfi*, 19; never 9, 10, 11, 16, 20 to 23 */
	{ 0x602, "hedeleg", .ones = BIT(19) | 0xb1ff, .may = BIT(18) },
	{ 0x603, "hideleg", .ones = VS_IRQS },
	{ 0x604, "hie", .ones = VS_IRQS, .may = BIT(12) },
	{ 0x606, "hcounteren", .ones = GENMASK(31, 0) },
	{ 0x607, "hgeie" },
	{ 0x608, "hvien", SSAIA },
	{ 0x609, "hvictl", SSAIA, .ones = BIT(30) | GENMASK(27, 16) | GENMASK(9, 0) },
	/* The modes are checked below; here only FIOM and the fixed rest */
	{ 0x60a, "henvcfg", .ones = 1,
	  .may = BIT(63) | BIT(62) | BIT(61) | GENMASK(7, 2) },
	{ 0x60c, "hstateen0", SMSTATEEN, .may = GENMASK(63, 54) },
	{ 0x60d, "hstateen1", SMSTATEEN },
	{ 0x60e, "hstateen2", SMSTATEEN },
	{ 0x60f, "hstateen3", SMSTATEEN },
	{ 0x645, "hvip", .ones = VS_IRQS },
	/* Interrupts 0, 4 and 8 have no byte */
	{ 0x646, "hviprio1", SSAIA, .ones = 0xffffff00ff00ff00UL },
	{ 0x647, "hviprio2", SSAIA, .ones = ALL },
};

static u64 has[4];

/* Bits of henvcfg and hedeleg that the extensions of the vCPU bring */
static u64 want_henvcfg, want_hedeleg;

/* Access to a CSR by number: one function per CSR would be many */
static u64 trap_cause;

static void l1_trap(struct pt_regs *regs)
{
	WRITE_ONCE(trap_cause, regs->cause);
	regs->epc += 4;
}

#define CSR_ACCESSORS(__n)						\
	case __n:							\
		asm volatile("csrrw %0, " #__n ", %1"			\
			     : "=r" (old) : "r" (val) : "memory");	\
		break

static u64 swap(u32 num, u64 val)
{
	u64 old = 0xbad;

	WRITE_ONCE(trap_cause, -1);
	switch (num) {
	CSR_ACCESSORS(0x205); CSR_ACCESSORS(0x240); CSR_ACCESSORS(0x241);
	CSR_ACCESSORS(0x242); CSR_ACCESSORS(0x243); CSR_ACCESSORS(0x24d);
	CSR_ACCESSORS(0x250); CSR_ACCESSORS(0x605); CSR_ACCESSORS(0x643);
	CSR_ACCESSORS(0x64a); CSR_ACCESSORS(0x600); CSR_ACCESSORS(0x602);
	CSR_ACCESSORS(0x603); CSR_ACCESSORS(0x604); CSR_ACCESSORS(0x606);
	CSR_ACCESSORS(0x607); CSR_ACCESSORS(0x608); CSR_ACCESSORS(0x609);
	CSR_ACCESSORS(0x60a); CSR_ACCESSORS(0x60c); CSR_ACCESSORS(0x60d);
	CSR_ACCESSORS(0x60e); CSR_ACCESSORS(0x60f); CSR_ACCESSORS(0x645);
	CSR_ACCESSORS(0x646); CSR_ACCESSORS(0x647);
	default:
		__GUEST_ASSERT(0, "no accessor for %x", num);
	}

	return old;
}

static void check(int i, const char *what, u64 got, u64 want)
{
	u64 mask = ~csrs[i].may;

	__GUEST_ASSERT((got & mask) == (want & mask),
		       "%s after %s: %lx instead of %lx", csrs[i].name, what, got, want);
}

static void l1_warl(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(csrs); i++) {
		if (csrs[i].need && !has[csrs[i].need]) {
			swap(csrs[i].num, 0);
			__GUEST_ASSERT(READ_ONCE(trap_cause) == 2, "%s: cause %lx",
				       csrs[i].name, READ_ONCE(trap_cause));
			continue;
		}
		/* M-mode may keep these for itself, mstateen1 to 3 decide */
		if (csrs[i].num > 0x60c && csrs[i].num <= 0x60f) {
			swap(csrs[i].num, 0);
			if (READ_ONCE(trap_cause) == 2)
				continue;
		}
		check(i, "reset", swap(csrs[i].num, ALL), csrs[i].zeros);
		__GUEST_ASSERT(READ_ONCE(trap_cause) == -1UL, "%s: cause %lx",
			       csrs[i].name, READ_ONCE(trap_cause));
		check(i, "ones", swap(csrs[i].num, 0), csrs[i].ones | csrs[i].zeros);
		check(i, "zeros", swap(csrs[i].num, 0), csrs[i].zeros);
	}
	GUEST_DONE();
}

/* henvcfg has the bits of the extensions that L1 has, CBIE is never 2 */
static void l1_henvcfg(void)
{
	csr_write(CSR_HENVCFG, ALL);
	GUEST_ASSERT_EQ(csr_read(CSR_HENVCFG), want_henvcfg);
	csr_write(CSR_HEDELEG, ALL);
	GUEST_ASSERT_EQ(csr_read(CSR_HEDELEG), want_hedeleg);
	csr_write(CSR_HEDELEG, 0);
	if (csr_read(CSR_HENVCFG) & ENVCFG_CBIE) {
		csr_write(CSR_HENVCFG, 1UL << 4);
		csr_write(CSR_HENVCFG, 2UL << 4);
		GUEST_ASSERT_EQ(csr_read(CSR_HENVCFG), 1UL << 4);
	}
	csr_write(CSR_HENVCFG, 0);
	GUEST_DONE();
}

/* sie and sip of L2 are windows on hie, hip and hideleg */
static void l1_aliases(void)
{
	u64 bit;

	for (bit = 2; bit <= 10; bit += 4) {
		csr_write(CSR_HIDELEG, 0);
		csr_write(CSR_HIE, BIT(bit));
		csr_write(CSR_HVIP, BIT(bit));
		GUEST_ASSERT_EQ(csr_read(CSR_HIP), BIT(bit));
		GUEST_ASSERT_EQ(csr_read(CSR_VSIE), 0);
		GUEST_ASSERT_EQ(csr_read(CSR_VSIP), 0);
		csr_write(CSR_VSIE, ALL);
		GUEST_ASSERT_EQ(csr_read(CSR_HIE), BIT(bit));

		csr_write(CSR_HIDELEG, BIT(bit));
		GUEST_ASSERT_EQ(csr_read(CSR_VSIE), BIT(bit - 1));
		GUEST_ASSERT_EQ(csr_read(CSR_VSIP), BIT(bit - 1));
		csr_write(CSR_VSIE, 0);
		GUEST_ASSERT_EQ(csr_read(CSR_HIE), 0);
		csr_write(CSR_VSIE, ALL);
		GUEST_ASSERT_EQ(csr_read(CSR_HIE), BIT(bit));

		/* SSIP is the only one that can be written there */
		csr_write(CSR_VSIP, 0);
		GUEST_ASSERT_EQ(csr_read(CSR_HVIP), bit == 2 ? 0 : BIT(bit));
		csr_write(CSR_HIP, ALL);
		GUEST_ASSERT_EQ(csr_read(CSR_HVIP), bit == 2 ? BIT(2) : BIT(bit) | BIT(2));
		csr_write(CSR_HVIP, 0);
		csr_write(CSR_HIE, 0);
	}
	csr_write(CSR_HIDELEG, 0);
	GUEST_DONE();
}

/* hgatp: bits 1:0 of PPN are zero, an unsupported mode does not stick */
static void l1_hgatp(void)
{
	u64 mode, val;

	for (mode = 0; mode < 16; mode++) {
		csr_write(CSR_HGATP, 0);
		csr_write(CSR_HGATP, mode << 60 | 5UL << 44 | 0x1237);
		val = csr_read(CSR_HGATP);
		if (mode == 8)
			GUEST_ASSERT_EQ(val, 8UL << 60 | 5UL << 44 | 0x1234);
		else if (mode == 9 || mode == 10)
			GUEST_ASSERT(val >> 60 == mode || val >> 60 == 0);
		else
			GUEST_ASSERT_EQ(val >> 60, 0);
		/* Other fields are written whatever the mode */
		GUEST_ASSERT_EQ(val & GENMASK(59, 0), 5UL << 44 | 0x1234);
	}
	/* VMID is 14 bits wide at most */
	csr_write(CSR_HGATP, ALL);
	GUEST_ASSERT_EQ(csr_read(CSR_HGATP) & GENMASK(59, 58), 0);
	csr_write(CSR_HGATP, 0);

	/* A write of vsatp with an unsupported mode has no effect at all */
	csr_write(CSR_VSATP, 8UL << 60 | 0x42);
	csr_write(CSR_VSATP, 5UL << 60 | 0x43);
	GUEST_ASSERT_EQ(csr_read(CSR_VSATP), 8UL << 60 | 0x42);
	csr_write(CSR_VSATP, 0);
	GUEST_ASSERT_EQ(csr_read(CSR_VSATP), 0);
	GUEST_DONE();
}

/* Set and clear instructions, with and without a write */
static void l1_set_clear(void)
{
	csr_write(CSR_HIDELEG, 0);
	GUEST_ASSERT_EQ(csr_read_set(CSR_HIDELEG, BIT(2) | BIT(6)), 0);
	GUEST_ASSERT_EQ(csr_read_clear(CSR_HIDELEG, BIT(2)), BIT(2) | BIT(6));
	GUEST_ASSERT_EQ(csr_read(CSR_HIDELEG), BIT(6));
	csr_write(CSR_HIDELEG, 0);

	csr_write(CSR_VSSTATUS, ALL);
	/* UXL is 64 bits, SD follows FS and VS, no XS */
	GUEST_ASSERT_EQ(csr_read(CSR_VSSTATUS) & ~(SR_FS | SR_VS | SR_SD | GENMASK(24, 23)),
			UXL_64 | 0xc0122);
	GUEST_ASSERT(csr_read(CSR_VSSTATUS) & SR_SD);
	csr_write(CSR_VSSTATUS, 0);
	GUEST_ASSERT_EQ(csr_read(CSR_VSSTATUS), UXL_64);

	WRITE_ONCE(trap_cause, -1);
	GUEST_ASSERT_EQ(csr_read(0xe12), 0);
	GUEST_ASSERT_EQ(READ_ONCE(trap_cause), -1UL);
	GUEST_DONE();
}

/* No guest interrupt files: vsireg and vstopei do not work, see AIA 6.3 */
static void l1_illegal(void)
{
	WRITE_ONCE(trap_cause, -1);
	asm volatile("csrw 0xe12, x0");
	GUEST_ASSERT_EQ(READ_ONCE(trap_cause), 2);
	WRITE_ONCE(trap_cause, -1);
	asm volatile("csrr t0, 0x251" ::: "t0");
	GUEST_ASSERT_EQ(READ_ONCE(trap_cause), 2);
	WRITE_ONCE(trap_cause, -1);
	asm volatile("csrr t0, 0x25c" ::: "t0");
	GUEST_ASSERT_EQ(READ_ONCE(trap_cause), 2);
	/* Not a CSR at all */
	WRITE_ONCE(trap_cause, -1);
	asm volatile("csrr t0, 0x6ff" ::: "t0");
	GUEST_ASSERT_EQ(READ_ONCE(trap_cause), 2);
	GUEST_DONE();
}

static u64 user_cause;

static void l1_user_trap(struct pt_regs *regs)
{
	WRITE_ONCE(user_cause, regs->cause);
	/* Return to HS-mode, behind the user code */
	regs->status |= SR_SPP;
	regs->epc = regs->a0;
}

/* The CSRs do not exist for U-mode: illegal, not virtual, instruction */
static void l1_u_mode(void)
{
	/* User code needs a page with U; without one the fetch faults */
	asm volatile("la a0, 1f\n"
		     "csrw sepc, %0\n"
		     "li t0, 0x100\n"
		     "csrc sstatus, t0\n"
		     "sret\n"
		     "1:\n"
		     :: "r" (NESTED_L2_ADDR) : "a0", "t0", "memory");
	GUEST_ASSERT_EQ(READ_ONCE(user_cause), 2);
	GUEST_DONE();
}

#define INSN_ECALL	0x73

/*
 * Read every CSR of the H extension, one after the other: VS level, then HS
 * level. L1 skips those that trap, and takes the numbers from the instructions.
 */
asm(".macro read_csrs nums:vararg\n"
	".irp num, \\nums\n"
	"csrr t0, \\num\n"
	".endr\n"
	".endm\n"
	".option push\n"
	".option norvc\n"
	".balign 4\n"
	"l2_read_all:\n"
	"read_csrs 0x200, 0x204, 0x205, 0x240, 0x241, 0x242, 0x243, 0x244\n"
	"read_csrs 0x24d, 0x250, 0x251, 0x25c, 0x280, 0xeb0\n"
	"read_csrs 0x600, 0x602, 0x603, 0x604, 0x605, 0x606, 0x607, 0x608\n"
	"read_csrs 0x609, 0x60a, 0x60c, 0x60d, 0x60e, 0x60f, 0x643, 0x644\n"
	"read_csrs 0x645, 0x646, 0x647, 0x64a, 0x680, 0xe12\n"
	"ecall\n"
	"j .\n"
	".option pop\n");

extern u32 l2_read_all[];

static enum need csr_need(u32 num)
{
	int i;

	/* These two are not in the table */
	if (num == 0xeb0 || num == 0x251 || num == 0x25c)
		return SSAIA;
	for (i = 0; i < ARRAY_SIZE(csrs); i++) {
		if (csrs[i].num == num)
			return csrs[i].need;
	}

	return ALWAYS;
}

/*
 * None of them for L2: what HS-mode has is a virtual-instruction exception, what
 * it has not is an illegal one (15.6.1). Both are fine where that depends on
 * M-mode (mstateen), or on VGEIN (vsireg, vstopei).
 */
static void l1_from_l2(void)
{
	static struct nested_ctx ctx;
	u32 num, mode;
	u64 want;
	int i;

	for (mode = 0; mode < 2; mode++) {
		nested_init(&ctx, (void *)l2_read_all);
		if (mode)
			ctx.sstatus &= ~SR_SPP;
		for (i = 0; l2_read_all[i] != INSN_ECALL; i++) {
			num = l2_read_all[i] >> 20;
			want = csr_need(num) && !has[csr_need(num)] ? 2 : 22;
			nested_run(&ctx);
			__GUEST_ASSERT(ctx.sepc == (u64)&l2_read_all[i],
				       "%x: pc %lx", num, ctx.sepc - (u64)l2_read_all);
			if ((num >= 0x60c && num <= 0x60f) || num == 0x251 || num == 0x25c)
				GUEST_ASSERT(ctx.scause == 2 || ctx.scause == 22);
			else
				__GUEST_ASSERT(ctx.scause == want, "%x from %s: cause %lx, not %lx",
					       num, mode ? "VU" : "VS", ctx.scause, want);
			ctx.sepc += 4;
		}
		nested_run(&ctx);
		GUEST_ASSERT_EQ(ctx.scause, mode ? 8 : 10);
	}
	GUEST_DONE();
}

static const struct {
	const char *name;
	void (*l1)(void);
} tests[] = {
	{ "reset values and writable bits", l1_warl },
	{ "henvcfg", l1_henvcfg },
	{ "aliases of interrupt CSRs", l1_aliases },
	{ "hgatp and vsatp", l1_hgatp },
	{ "set and clear", l1_set_clear },
	{ "accesses that are illegal", l1_illegal },
	{ "U-mode", l1_u_mode },
	{ "VS-mode and VU-mode", l1_from_l2 },
};

/* Let U-mode of L1 execute the first page of the test memory */
static void make_user_page(struct kvm_vm *vm, u32 insn)
{
	u64 table = vm->mmu.pgd, *pte;
	int level;

	for (level = vm->mmu.pgtable_levels - 1; ; level--) {
		pte = (u64 *)addr_gpa2hva(vm, table) +
		      (NESTED_L2_ADDR >> (12 + 9 * level) & 511);
		if (!level)
			break;
		table = (*pte & PGTBL_PTE_ADDR_MASK) >> PGTBL_PTE_ADDR_SHIFT << 12;
	}
	*pte |= PGTBL_PTE_USER_MASK;
	*(u32 *)addr_gpa2hva(vm, NESTED_TEST_GPA) = insn;
}

static void want_bits(struct kvm_vm *vm, struct kvm_vcpu *vcpu)
{
	static const struct {
		u64 ext, henvcfg, hedeleg;
	} t[] = {
		{ KVM_RISCV_ISA_EXT_SSTC, BIT(63) },
		{ KVM_RISCV_ISA_EXT_SVPBMT, BIT(62) },
		{ KVM_RISCV_ISA_EXT_SVADU, BIT(61) },
		{ KVM_RISCV_ISA_EXT_ZICBOM, GENMASK(6, 4) },
		{ KVM_RISCV_ISA_EXT_ZICBOZ, BIT(7) },
		{ KVM_RISCV_ISA_EXT_ZICFILP, BIT(2), BIT(18) },
		{ KVM_RISCV_ISA_EXT_ZICFISS, BIT(3), BIT(18) },
	};
	u64 *henvcfg = addr_gva2hva(vm, (gva_t)&want_henvcfg);
	u64 *hedeleg = addr_gva2hva(vm, (gva_t)&want_hedeleg);
	int i;

	*henvcfg = 1;
	*hedeleg = BIT(19) | 0xb1ff;
	for (i = 0; i < ARRAY_SIZE(t); i++) {
		if (!__vcpu_has_isa_ext(vcpu, t[i].ext))
			continue;
		*henvcfg |= t[i].henvcfg;
		*hedeleg |= t[i].hedeleg;
	}
}

static bool run_test(void *l1)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm = nested_vm_create(&vcpu, l1, VM_MEM_SRC_ANONYMOUS);
	bool pass = false;
	struct ucall uc;
	u64 *l1_has;

	vm_install_exception_handler(vm, 2, l1 == l1_u_mode ? l1_user_trap : l1_trap);
	vm_install_exception_handler(vm, 22, l1_trap);
	/* csrr t0, hstatus */
	make_user_page(vm, 0x600022f3);

	want_bits(vm, vcpu);
	l1_has = addr_gva2hva(vm, (gva_t)has);
	l1_has[SSTC] = __vcpu_has_isa_ext(vcpu, KVM_RISCV_ISA_EXT_SSTC);
	l1_has[SSAIA] = __vcpu_has_isa_ext(vcpu, KVM_RISCV_ISA_EXT_SSAIA);
	l1_has[SMSTATEEN] = __vcpu_has_isa_ext(vcpu, KVM_RISCV_ISA_EXT_SMSTATEEN);

	vcpu_run(vcpu);
	switch (get_ucall(vcpu, &uc)) {
	case UCALL_DONE:
		pass = true;
		break;
	case UCALL_ABORT:
		ksft_print_msg("%s at %s:%ld\n", uc.buffer,
			       (const char *)uc.args[GUEST_FILE], uc.args[GUEST_LINE]);
		break;
	default:
		ksft_print_msg("exit reason %d, ucall %lu\n", vcpu->run->exit_reason, uc.cmd);
		break;
	}
	kvm_vm_free(vm);

	return pass;
}

int main(void)
{
	int i;

	ksft_print_header();
	if (!nested_supported())
		ksft_exit_skip("KVM does not offer the H extension, see kvm.nested\n");

	ksft_set_plan(ARRAY_SIZE(tests));
	for (i = 0; i < ARRAY_SIZE(tests); i++)
		ksft_test_result(run_test(tests[i].l1), "%s\n", tests[i].name);
	ksft_finished();
}
