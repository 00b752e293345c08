//! The data types of FIX fields, under the names that the QuickFIX XML format gives them.

macro_rules! field_types {
    ($($variant:ident = $code:literal $name:literal,)*) => {
        /// A field's data type. The number is its code in the built-in tables and never changes its meaning.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum FieldType {
            $($variant = $code,)*
        }

        impl FieldType {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// As the XML format writes it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

field_types! {
    Amt = 0 "AMT",
    Boolean = 1 "BOOLEAN",
    Char = 2 "CHAR",
    Country = 3 "COUNTRY",
    Currency = 4 "CURRENCY",
    Data = 5 "DATA",
    Date = 6 "DATE",
    DayOfMonth = 7 "DAYOFMONTH",
    Exchange = 8 "EXCHANGE",
    Float = 9 "FLOAT",
    Int = 10 "INT",
    Language = 11 "LANGUAGE",
    Length = 12 "LENGTH",
    LocalMktDate = 13 "LOCALMKTDATE",
    LocalMktTime = 14 "LOCALMKTTIME",
    MonthYear = 15 "MONTHYEAR",
    MultipleCharValue = 16 "MULTIPLECHARVALUE",
    MultipleStringValue = 17 "MULTIPLESTRINGVALUE",
    MultipleValueString = 18 "MULTIPLEVALUESTRING",
    NumInGroup = 19 "NUMINGROUP",
    Pattern = 20 "PATTERN",
    Percentage = 21 "PERCENTAGE",
    Price = 22 "PRICE",
    PriceOffset = 23 "PRICEOFFSET",
    Qty = 24 "QTY",
    Quantity = 25 "QUANTITY",
    Reserved100Plus = 26 "RESERVED100PLUS",
    Reserved1000Plus = 27 "RESERVED1000PLUS",
    Reserved4000Plus = 28 "RESERVED4000PLUS",
    SeqNum = 29 "SEQNUM",
    String = 30 "STRING",
    TagNum = 31 "TAGNUM",
    Tenor = 32 "TENOR",
    Time = 33 "TIME",
    TzTimeOnly = 34 "TZTIMEONLY",
    TzTimestamp = 35 "TZTIMESTAMP",
    UtcDate = 36 "UTCDATE",
    UtcDateOnly = 37 "UTCDATEONLY",
    UtcTimeOnly = 38 "UTCTIMEONLY",
    UtcTimestamp = 39 "UTCTIMESTAMP",
    Xid = 40 "XID",
    XidRef = 41 "XIDREF",
    XmlData = 42 "XMLDATA",
}

impl FieldType {
    /// Capitals do not matter.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name().eq_ignore_ascii_case(name))
    }

    pub fn of_code(code: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| *kind as u8 == code)
    }

    /// Whether a value is a list of enumerated values with spaces between them.
    pub fn is_list(self) -> bool {
        matches!(self, Self::MultipleCharValue | Self::MultipleStringValue | Self::MultipleValueString)
    }

    /// Whether a field of this type may count a group's instances. FIX.4.0 to FIX.4.2 had no type of its own for it.
    pub fn is_count(self) -> bool {
        matches!(self, Self::NumInGroup | Self::Int)
    }

    /// Whether a value may hold any byte, the delimiter too.
    pub fn is_data(self) -> bool {
        matches!(self, Self::Data | Self::XmlData)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_codes_lead_back_to_their_type() {
        for kind in FieldType::ALL {
            assert_eq!(FieldType::of_name(&kind.name().to_lowercase()), Some(*kind));
            assert_eq!(FieldType::of_code(*kind as u8), Some(*kind));
        }
        assert_eq!(FieldType::of_code(43), None);
    }
}
