"""vfswitch: Open vSwitch driven as the embedded switch of an SR-IOV network card."""
