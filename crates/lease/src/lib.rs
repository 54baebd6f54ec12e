//! Who may run a VM: epoch files, fences, the keeper.
