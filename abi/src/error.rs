//! The errors of the whole system, and the one place where they are numbers.
//!
//! The kernel's interface is Linux's, whose vocabulary of errors is its errno values; every layer speaks it
//! directly, so that no layer has to translate, and the numbers stand here alone (`asm-generic/errno.h`).

use crate::linux::errno as number;

macro_rules! errors {
    ($($name:ident = $errno:ident, $text:literal;)*) => {
        /// Why an operation failed; one variant for each errno value that the system can give. As wide as a register, so
        /// that a `Result` of a number is returned in two.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u64)]
        pub enum Error {
            $(#[doc = concat!("`", stringify!($errno), "`: ", $text, ".")] $name = number::$errno as u64,)*
        }

        impl Error {
            /// Every error, in the order of its definition.
            pub const ALL: &[Error] = &[$(Error::$name),*];

            /// The errno value, positive.
            pub const fn number(self) -> u16 {
                self as u16
            }

            /// What a system call returns for this error: the negated errno value.
            pub const fn to_return_value(self) -> usize {
                (self as usize).wrapping_neg()
            }

            /// The error with this positive errno value, if the system has one.
            pub const fn from_number(value: u16) -> Option<Error> {
                $(if value == number::$errno as u16 { return Some(Error::$name); })*
                None
            }
        }

        impl core::fmt::Display for Error {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(match self { $(Error::$name => $text,)* })
            }
        }
    };
}

errors! {
    NotPermitted = EPERM, "Operation not permitted";
    NotFound = ENOENT, "No such file or directory";
    NoSuchProcess = ESRCH, "No such process";
    Interrupted = EINTR, "Interrupted system call";
    InputOutput = EIO, "Input/output error";
    NoSuchDeviceOrAddress = ENXIO, "No such device or address";
    ArgumentListTooLong = E2BIG, "Argument list too long";
    ExecFormat = ENOEXEC, "Exec format error";
    BadDescriptor = EBADF, "Bad file descriptor";
    NoChild = ECHILD, "No child processes";
    WouldBlock = EAGAIN, "Resource temporarily unavailable";
    OutOfMemory = ENOMEM, "Cannot allocate memory";
    AccessDenied = EACCES, "Permission denied";
    BadAddress = EFAULT, "Bad address";
    NotBlockDevice = ENOTBLK, "Block device required";
    Busy = EBUSY, "Device or resource busy";
    AlreadyExists = EEXIST, "File exists";
    CrossDevice = EXDEV, "Invalid cross-device link";
    NoDevice = ENODEV, "No such device";
    NotDirectory = ENOTDIR, "Not a directory";
    IsDirectory = EISDIR, "Is a directory";
    InvalidArgument = EINVAL, "Invalid argument";
    TooManyFilesInSystem = ENFILE, "Too many open files in system";
    TooManyFiles = EMFILE, "Too many open files";
    NotTerminal = ENOTTY, "Inappropriate ioctl for device";
    TextBusy = ETXTBSY, "Text file busy";
    FileTooLarge = EFBIG, "File too large";
    NoSpace = ENOSPC, "No space left on device";
    IllegalSeek = ESPIPE, "Illegal seek";
    ReadOnlyFileSystem = EROFS, "Read-only file system";
    TooManyLinks = EMLINK, "Too many links";
    BrokenPipe = EPIPE, "Broken pipe";
    Domain = EDOM, "Numerical argument out of domain";
    Range = ERANGE, "Numerical result out of range";
    Deadlock = EDEADLK, "Resource deadlock avoided";
    NameTooLong = ENAMETOOLONG, "File name too long";
    NoLocks = ENOLCK, "No locks available";
    NotImplemented = ENOSYS, "Function not implemented";
    NotEmpty = ENOTEMPTY, "Directory not empty";
    TooManySymbolicLinks = ELOOP, "Too many levels of symbolic links";
    NoData = ENODATA, "No data available";
    TimerExpired = ETIME, "Timer expired";
    Protocol = EPROTO, "Protocol error";
    Overflow = EOVERFLOW, "Value too large for defined data type";
    BadFileState = EBADFD, "File descriptor in bad state";
    NotSocket = ENOTSOCK, "Socket operation on non-socket";
    DestinationRequired = EDESTADDRREQ, "Destination address required";
    MessageTooLong = EMSGSIZE, "Message too long";
    WrongProtocolType = EPROTOTYPE, "Protocol wrong type for socket";
    ProtocolOptionUnavailable = ENOPROTOOPT, "Protocol not available";
    ProtocolUnsupported = EPROTONOSUPPORT, "Protocol not supported";
    SocketTypeUnsupported = ESOCKTNOSUPPORT, "Socket type not supported";
    NotSupported = EOPNOTSUPP, "Operation not supported";
    AddressFamilyUnsupported = EAFNOSUPPORT, "Address family not supported by protocol";
    AddressInUse = EADDRINUSE, "Address already in use";
    AddressUnavailable = EADDRNOTAVAIL, "Cannot assign requested address";
    NetworkUnreachable = ENETUNREACH, "Network is unreachable";
    ConnectionAborted = ECONNABORTED, "Software caused connection abort";
    ConnectionReset = ECONNRESET, "Connection reset by peer";
    NoBufferSpace = ENOBUFS, "No buffer space available";
    AlreadyConnected = EISCONN, "Transport endpoint is already connected";
    NotConnected = ENOTCONN, "Transport endpoint is not connected";
    TooManyReferences = ETOOMANYREFS, "Too many references: cannot splice";
    TimedOut = ETIMEDOUT, "Connection timed out";
    ConnectionRefused = ECONNREFUSED, "Connection refused";
    AlreadyInProgress = EALREADY, "Operation already in progress";
    InProgress = EINPROGRESS, "Operation now in progress";
    QuotaExceeded = EDQUOT, "Disk quota exceeded";
    Cancelled = ECANCELED, "Operation canceled";
    OwnerDied = EOWNERDEAD, "Owner died";
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_linux_s_and_round_trip() {
        assert_eq!(Error::NotFound.number(), 2);
        assert_eq!(Error::WouldBlock.to_return_value(), -11isize as usize);
        for error in Error::ALL {
            assert_eq!(Error::from_number(error.number()), Some(*error));
        }
        assert_eq!(Error::from_number(0), None);
    }
}
