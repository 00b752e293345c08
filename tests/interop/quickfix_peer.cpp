// The counterparty of the interoperability tests: one QuickFIX session, driven by lines on stdin, which reports
// on stdout what it sees, one JSON object a line. It knows nothing of fixring: whatever it observes, it observes
// through QuickFIX, and `tests/interop.rs` judges it.
//
//   quickfix_peer --role initiator|acceptor --port N --begin-string FIX.4.0|...|FIX.4.4|FIXT.1.1 --dictionary FILE
//                 [--transport-dictionary FILE --appl-ver-id FIX.5.0|FIX.5.0SP1|FIX.5.0SP2]
//                 [--sender PEER] [--target FIXRING] [--store memory|file] [--store-dir DIR]
//                 [--heartbeat SECONDS] [--announce-heartbeat SECONDS]
//   quickfix_peer --nursery NAME FILE...
//
// Everything that comes in is validated by the dictionary, as strictly as QuickFIX can. FIXT.1.1 needs the flags of the
// second line, and its --dictionary is that of the application messages.
//
// QuickFIX needs 2.4 seconds of a core to load FIX.5.0SP2, and each scenario has a counterparty of its own. So there is a
// nursery: it loads the dictionaries once, says "ready", and listens on the abstract Unix socket NAME. Who connects sends
// one line, the flags above with tabs between them, and from then on talks to a child that was forked for it, as it would
// over stdin and stdout. The nursery ends with its own stdin.
//
// --announce-heartbeat puts another HeartBtInt(108) on the wire than the one that QuickFIX keeps itself. With 1
// announced and 30 kept, the peer is silent long enough that the other side has to send a TestRequest(1).
//
// Commands. Each is answered by {"event":"done","command":...} or {"event":"error","text":...}:
//   order ID [QTY]      send a NewOrderSingle(D) with ClOrdID(11) = ID, a limit order over 100 or QTY
//   market ID           the same without a price
//   order-without-side ID   the same without Side(54), which every version requires
//   orders N PREFIX     send N of them, PREFIX-1 to PREFIX-N
//   cancel ID ORIG      send an OrderCancelRequest(F) for the order ORIG
//   replace ID ORIG QTY send an OrderCancelReplaceRequest(G) for the order ORIG
//   status ID           send an OrderStatusRequest(H)
//   list-status ID      send a ListStatusRequest(M), which a small venue knows nothing of
//   news TEXT           send a News(B), with a group of lines that say TEXT
//   sequence-reset N    send a SequenceReset(4) in reset mode and go on with N
//   test-request ID     send a TestRequest(1) with TestReqID(112) = ID
//   set-next-out N      the next outgoing MsgSeqNum(34); above the true one it makes a gap for the other side
//   set-next-in N       the next MsgSeqNum(34) expected; below the true one it makes a gap for this side
//   reset-on-logon on|off   whether the next Logon(A) as initiator resets both numbers with ResetSeqNumFlag(141)
//   reset               log out, disconnect, and set both numbers to 1
//   logout, logon       log out and stay away; be available again
//   state               report numbers and whether the session is logged on
//   stop                log out and exit 0. At the end of input without it the peer is gone at once, as if killed
//
// Events: `in` and `out` are messages on the wire as QuickFIX's log sees them, before any check; `app` is an application
// message that QuickFIX accepted, in order; `logon` and `logout` are the session's; `text` is QuickFIX's own remark.
//
// C++14 and not later: QuickFIX 1.15 declares dynamic exception specifications, which C++17 took out of the language.

#include <quickfix/Application.h>
#include <quickfix/FileStore.h>
#include <quickfix/Log.h>
#include <quickfix/MessageStore.h>
#include <quickfix/Session.h>
#include <quickfix/SessionSettings.h>
#include <quickfix/SocketAcceptor.h>
#include <quickfix/SocketInitiator.h>

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

namespace {

// One event: keys and values in the order given, written whole under one lock, since QuickFIX's thread and the
// command loop both report.
class Event {
public:
  explicit Event( const std::string& name ) { text( "event", name ); }

  Event& text( const char* key, const std::string& value ) {
    begin( key );
    m_line += '"';
    for( unsigned char c : value ) {
      if( c == '"' || c == '\\' ) { m_line += '\\'; m_line += static_cast<char>( c ); }
      else if( c < 0x20 || c >= 0x7f ) {
        char escaped[8];
        std::snprintf( escaped, sizeof escaped, "\\u%04x", c );
        m_line += escaped;
      }
      else m_line += static_cast<char>( c );
    }
    m_line += '"';
    return *this;
  }

  Event& number( const char* key, long value ) { begin( key ); m_line += std::to_string( value ); return *this; }
  Event& flag( const char* key, bool value ) { begin( key ); m_line += value ? "true" : "false"; return *this; }

  void write() {
    static std::mutex mutex;
    std::lock_guard<std::mutex> guard( mutex );
    m_line += "}\n";
    std::fwrite( m_line.data(), 1, m_line.size(), stdout );
    std::fflush( stdout );
  }

private:
  void begin( const char* key ) {
    m_line += m_line.empty() ? '{' : ',';
    m_line += '"';
    m_line += key;
    m_line += "\":";
  }

  std::string m_line;
};

// The value of the first `tag` in a message as it stands on the wire, or "".
std::string wireField( const std::string& message, int tag ) {
  const std::string key = '\001' + std::to_string( tag ) + '=';
  const size_t at = message.find( key );
  if( at == std::string::npos ) return "";
  const size_t begin = at + key.size();
  return message.substr( begin, message.find( '\001', begin ) - begin );
}

// The fields that the tests ask for, under their FIX names in snake case. An absent one has no key.
void reportMessage( const std::string& name, const std::string& message ) {
  Event event( name );
  event.text( "msg_type", wireField( message, 35 ) );
  event.number( "msg_seq_num", std::atol( wireField( message, 34 ).c_str() ) );
  event.flag( "poss_dup", wireField( message, 43 ) == "Y" );
  static const struct { int tag; const char* key; } numbers[] = {
    { 7, "begin_seq_no" }, { 16, "end_seq_no" }, { 36, "new_seq_no" }, { 108, "heart_bt_int" } };
  for( const auto& field : numbers ) {
    const std::string value = wireField( message, field.tag );
    if( !value.empty() ) event.number( field.key, std::atol( value.c_str() ) );
  }
  static const struct { int tag; const char* key; } texts[] = {
    { 11, "cl_ord_id" }, { 17, "exec_id" }, { 20, "exec_trans_type" }, { 37, "order_id" }, { 39, "ord_status" }, { 58, "text" }, { 112, "test_req_id" },
    { 122, "orig_sending_time" }, { 123, "gap_fill_flag" }, { 141, "reset_seq_num_flag" }, { 150, "exec_type" },
    { 1137, "default_appl_ver_id" } };
  for( const auto& field : texts ) {
    const std::string value = wireField( message, field.tag );
    if( !value.empty() ) event.text( field.key, value );
  }
  event.write();
}

class EventLog : public FIX::Log {
public:
  void clear() override {}
  void backup() override {}
  void onIncoming( const std::string& message ) override { reportMessage( "in", message ); }
  void onOutgoing( const std::string& message ) override { reportMessage( "out", message ); }
  void onEvent( const std::string& text ) override { Event( "text" ).text( "text", text ).write(); }
};

class EventLogFactory : public FIX::LogFactory {
public:
  FIX::Log* create() override { return new EventLog; }
  FIX::Log* create( const FIX::SessionID& ) override { return new EventLog; }
  void destroy( FIX::Log* log ) override { delete log; }
};

struct Options {
  std::string role, beginString, applVerId, dictionary, transportDictionary;
  std::string sender = "PEER", target = "FIXRING", store = "memory", storeDir;
  int port = 0, heartbeat = 600, announceHeartbeat = 0;
};

class Peer : public FIX::Application {
public:
  explicit Peer( const Options& options ) : m_options( options ) {}

  void onCreate( const FIX::SessionID& id ) override { Event( "created" ).text( "session", id.toString() ).write(); }
  void onLogon( const FIX::SessionID& ) override { Event( "logon" ).write(); }
  void onLogout( const FIX::SessionID& ) override { Event( "logout" ).write(); }

  void toAdmin( FIX::Message& message, const FIX::SessionID& ) override {
    if( m_options.announceHeartbeat > 0 && isLogon( message ) )
      message.setField( FIX::HeartBtInt( m_options.announceHeartbeat ) );
  }

  void fromAdmin( const FIX::Message& message, const FIX::SessionID& )
    throw( FIX::FieldNotFound, FIX::IncorrectDataFormat, FIX::IncorrectTagValue, FIX::RejectLogon ) override {
    // As acceptor, QuickFIX takes over the interval of the Logon that it is about to handle. There is no
    // setting against it, so the field is changed under it, in a message that nobody else holds.
    if( m_options.announceHeartbeat > 0 && isLogon( message ) )
      const_cast<FIX::Message&>( message ).setField( FIX::HeartBtInt( m_options.heartbeat ) );
  }

  void toApp( FIX::Message&, const FIX::SessionID& ) throw( FIX::DoNotSend ) override {}

  void fromApp( const FIX::Message& message, const FIX::SessionID& id )
    throw( FIX::FieldNotFound, FIX::IncorrectDataFormat, FIX::IncorrectTagValue, FIX::UnsupportedMessageType ) override {
    reportMessage( "app", message.toString() );
    FIX::MsgType type;
    message.getHeader().getField( type );
    if( m_options.role == "acceptor" && type == "D" ) answer( message, id );
  }

  void sendOrder( const FIX::SessionID& id, const std::string& clOrdId, const std::string& quantity, char ordType ) {
    FIX::Message order = request( "D", clOrdId );
    setOrder( order, quantity, ordType );
    send( order, id );
  }

  void sendOrderWithoutSide( const FIX::SessionID& id, const std::string& clOrdId ) {
    FIX::Message order = request( "D", clOrdId );
    setOrder( order, "100", FIX::OrdType_LIMIT );
    order.removeField( FIX::FIELD::Side );
    send( order, id );
  }

  void sendCancel( const FIX::SessionID& id, const std::string& clOrdId, const std::string& original ) {
    FIX::Message cancel = request( "F", clOrdId );
    cancel.setField( FIX::OrigClOrdID( original ) );
    cancel.setField( FIX::FIELD::OrderQty, "100" );
    if( isBefore( "FIX.4.1" ) ) cancel.setField( FIX::CxlType( 'F' ) );
    if( !isBefore( "FIX.4.2" ) ) cancel.setField( FIX::TransactTime() );
    send( cancel, id );
  }

  void sendReplace(
    const FIX::SessionID& id, const std::string& clOrdId, const std::string& original, const std::string& quantity ) {
    FIX::Message replace = request( "G", clOrdId );
    replace.setField( FIX::OrigClOrdID( original ) );
    setOrder( replace, quantity, FIX::OrdType_LIMIT );
    send( replace, id );
  }

  void sendStatusRequest( const FIX::SessionID& id, const std::string& clOrdId ) {
    FIX::Message status = request( "H", clOrdId );
    send( status, id );
  }

  void sendListStatusRequest( const FIX::SessionID& id, const std::string& listId ) {
    FIX::Message status;
    status.getHeader().setField( FIX::MsgType( "M" ) );
    status.setField( FIX::ListID( listId ) );
    send( status, id );
  }

  // FIX.4.0 has no groups, only a Text(58) that may come again, and no Headline(148).
  void sendNews( const FIX::SessionID& id, const std::string& text ) {
    FIX::Message news;
    news.getHeader().setField( FIX::MsgType( "B" ) );
    if( isBefore( "FIX.4.1" ) ) {
      news.setField( FIX::LinesOfText( 1 ) );
      news.setField( FIX::Text( text ) );
    }
    else {
      news.setField( FIX::Headline( "news" ) );
      FIX::Group line( FIX::FIELD::LinesOfText, FIX::FIELD::Text );
      line.setField( FIX::Text( text ) );
      for( int n = 0; n < 3; ++n ) news.addGroup( line );
    }
    send( news, id );
  }

  void sendSequenceReset( const FIX::SessionID& id, int newSeqNo ) {
    FIX::Message reset;
    reset.getHeader().setField( FIX::MsgType( "4" ) );
    reset.setField( FIX::GapFillFlag( false ) );
    reset.setField( FIX::NewSeqNo( newSeqNo ) );
    send( reset, id );
  }

  void sendTestRequest( const FIX::SessionID& id, const std::string& testReqId ) {
    FIX::Message request;
    request.getHeader().setField( FIX::MsgType( "1" ) );
    request.setField( FIX::TestReqID( testReqId ) );
    send( request, id );
  }

private:
  // The names of the versions are in the versions' order, FIXT.1.1 after all others.
  bool isBefore( const std::string& beginString ) const { return m_options.beginString < beginString; }

  // What every request about an order says.
  static FIX::Message request( const std::string& msgType, const std::string& clOrdId ) {
    FIX::Message message;
    message.getHeader().setField( FIX::MsgType( msgType ) );
    message.setField( FIX::ClOrdID( clOrdId ) );
    message.setField( FIX::Symbol( "FIXR" ) );
    message.setField( FIX::Side( FIX::Side_BUY ) );
    return message;
  }

  // What an order and a replacement say. HandlInst(21) is required up to FIX.4.3; TransactTime(60) came with FIX.4.2.
  void setOrder( FIX::Message& message, const std::string& quantity, char ordType ) const {
    message.setField( FIX::HandlInst( '1' ) );
    message.setField( FIX::FIELD::OrderQty, quantity );
    message.setField( FIX::OrdType( ordType ) );
    if( ordType == FIX::OrdType_LIMIT ) message.setField( FIX::Price( 10.25 ) );
    if( !isBefore( "FIX.4.2" ) ) message.setField( FIX::TransactTime() );
  }

  static bool isLogon( const FIX::Message& message ) {
    FIX::MsgType type;
    message.getHeader().getField( type );
    return type == "A";
  }

  // A false answer is not an error here: QuickFIX then has stored and numbered the message, and sends it when asked.
  static void send( FIX::Message& message, const FIX::SessionID& id ) { FIX::Session::sendToTarget( message, id ); }

  void answer( const FIX::Message& order, const FIX::SessionID& id ) {
    FIX::ClOrdID clOrdId;
    FIX::Symbol symbol;
    FIX::Side side;
    FIX::OrderQty quantity;
    order.getField( clOrdId );
    order.getField( symbol );
    order.getField( side );
    order.getField( quantity );
    const std::string number = std::to_string( ++m_answers );
    FIX::Message report;
    report.getHeader().setField( FIX::MsgType( "8" ) );
    report.setField( FIX::OrderID( "PEER-O" + number ) );
    // FIX.4.0 has numbers for it.
    report.setField( FIX::ExecID( ( isBefore( "FIX.4.1" ) ? "" : "PEER-E" ) + number ) );
    if( isBefore( "FIX.4.3" ) ) report.setField( FIX::ExecTransType( '0' ) );
    if( isBefore( "FIX.4.2" ) ) {
      report.setField( FIX::LastShares( 0 ) );
      report.setField( FIX::LastPx( 0 ) );
    }
    if( !isBefore( "FIX.4.1" ) ) {
      report.setField( FIX::ExecType( '0' ) );
      report.setField( FIX::LeavesQty( quantity ) );
    }
    report.setField( FIX::OrdStatus( '0' ) );
    report.setField( clOrdId );
    report.setField( symbol );
    report.setField( side );
    report.setField( quantity );
    report.setField( FIX::CumQty( 0 ) );
    report.setField( FIX::AvgPx( 0 ) );
    send( report, id );
  }

  const Options m_options;
  long m_answers = 0;
};

Options parse( const std::vector<std::string>& flags ) {
  Options options;
  for( size_t i = 0; i < flags.size(); i += 2 ) {
    const std::string& flag = flags[i];
    if( i + 1 == flags.size() ) throw std::invalid_argument( flag + " needs a value" );
    const std::string& value = flags[i + 1];
    if( flag == "--role" ) options.role = value;
    else if( flag == "--port" ) options.port = std::stoi( value );
    else if( flag == "--begin-string" ) options.beginString = value;
    else if( flag == "--appl-ver-id" ) options.applVerId = value;
    else if( flag == "--dictionary" ) options.dictionary = value;
    else if( flag == "--transport-dictionary" ) options.transportDictionary = value;
    else if( flag == "--sender" ) options.sender = value;
    else if( flag == "--target" ) options.target = value;
    else if( flag == "--store" ) options.store = value;
    else if( flag == "--store-dir" ) options.storeDir = value;
    else if( flag == "--heartbeat" ) options.heartbeat = std::stoi( value );
    else if( flag == "--announce-heartbeat" ) options.announceHeartbeat = std::stoi( value );
    else throw std::invalid_argument( "no such flag: " + flag );
  }
  if( options.role != "initiator" && options.role != "acceptor" ) throw std::invalid_argument( "--role is initiator or acceptor" );
  if( options.store != "memory" && options.store != "file" ) throw std::invalid_argument( "--store is memory or file" );
  if( options.store == "file" && options.storeDir.empty() ) throw std::invalid_argument( "--store file needs --store-dir" );
  if( options.port <= 0 || options.port > 65535 ) throw std::invalid_argument( "--port is 1 to 65535" );
  if( options.beginString.empty() ) throw std::invalid_argument( "--begin-string is missing" );
  if( options.dictionary.empty() ) throw std::invalid_argument( "--dictionary is missing" );
  if( ( options.beginString == "FIXT.1.1" ) == ( options.applVerId.empty() || options.transportDictionary.empty() ) )
    throw std::invalid_argument( "--appl-ver-id and --transport-dictionary belong to FIXT.1.1, and it to them" );
  return options;
}

// QuickFIX resets a session when its daily window closes. The window opens twelve hours away from now, so that
// no test meets that moment.
std::string windowEdge() {
  const std::time_t away = std::time( nullptr ) + 12 * 3600;
  std::tm utc;
  gmtime_r( &away, &utc );
  char text[16];
  std::strftime( text, sizeof text, "%H:00:00", &utc );
  return text;
}

FIX::SessionSettings settings( const Options& options ) {
  std::stringstream text;
  text << "[DEFAULT]\n"
       << "ConnectionType=" << options.role << "\n"
       << "StartTime=" << windowEdge() << "\nEndTime=" << windowEdge() << "\n"
       // Not from here: the session gets dictionaries that are loaded already, see `useDictionaries`.
       << "UseDataDictionary=N\n"
       << "SocketNodelay=Y\n"
       << "SocketReuseAddress=Y\n"
       << "HeartBtInt=" << options.heartbeat << "\n"
       << "LogonTimeout=60\nLogoutTimeout=30\n"
       << "ReconnectInterval=1\n";
  if( options.role == "initiator" ) text << "SocketConnectHost=127.0.0.1\nSocketConnectPort=" << options.port << "\n";
  else text << "SocketAcceptPort=" << options.port << "\n";
  if( options.store == "file" ) text << "FileStorePath=" << options.storeDir << "\n";
  text << "[SESSION]\n"
       << "BeginString=" << options.beginString << "\n"
       << "SenderCompID=" << options.sender << "\n"
       << "TargetCompID=" << options.target << "\n";
  if( options.beginString == "FIXT.1.1" ) text << "DefaultApplVerID=" << options.applVerId << "\n";
  return FIX::SessionSettings( text );
}

// The dictionary of a file, loaded once a process. Its switches are what UseDataDictionary=Y and the strictest settings make of them.
ptr::shared_ptr<FIX::DataDictionary> dictionary( const std::string& path ) {
  static std::map<std::string, ptr::shared_ptr<FIX::DataDictionary>> loaded;
  ptr::shared_ptr<FIX::DataDictionary>& known = loaded[path];
  if( !known ) {
    known.reset( new FIX::DataDictionary( path ) );
    known->checkFieldsOutOfOrder( true );
    known->checkFieldsHaveValues( true );
    known->checkUserDefinedFields( true );
    known->allowUnknownMsgFields( false );
  }
  return known;
}

// What QuickFIX does with DataDictionary, or TransportDataDictionary and AppDataDictionary.
void useDictionaries( FIX::Session& session, const Options& options ) {
  const bool isFixt = options.beginString == "FIXT.1.1";
  const std::string applVerId = isFixt ? options.applVerId : options.beginString;
  FIX::DataDictionaryProvider provider;
  provider.addTransportDataDictionary(
    FIX::BeginString( options.beginString ), dictionary( isFixt ? options.transportDictionary : options.dictionary ) );
  provider.addApplicationDataDictionary(
    FIX::Message::toApplVerID( FIX::BeginString( applVerId ) ), dictionary( options.dictionary ) );
  session.setDataDictionaryProvider( provider );
}

// Runs one command line; false ends the loop.
bool run( const std::string& line, Peer& peer, const FIX::SessionID& id ) {
  std::istringstream words( line );
  std::string command, first, second, third;
  words >> command >> first >> second >> third;
  if( command == "stop" ) return false;
  FIX::Session* session = FIX::Session::lookupSession( id );
  if( !session ) throw std::runtime_error( "the session is gone" );
  if( command == "order" ) peer.sendOrder( id, first, second.empty() ? "100" : second, FIX::OrdType_LIMIT );
  else if( command == "market" ) peer.sendOrder( id, first, "100", FIX::OrdType_MARKET );
  else if( command == "order-without-side" ) peer.sendOrderWithoutSide( id, first );
  else if( command == "cancel" ) peer.sendCancel( id, first, second );
  else if( command == "replace" ) peer.sendReplace( id, first, second, third );
  else if( command == "status" ) peer.sendStatusRequest( id, first );
  else if( command == "list-status" ) peer.sendListStatusRequest( id, first );
  else if( command == "news" ) peer.sendNews( id, first );
  else if( command == "sequence-reset" ) {
    peer.sendSequenceReset( id, std::stoi( first ) );
    session->setNextSenderMsgSeqNum( std::stoi( first ) );
  }
  else if( command == "orders" )
    for( int n = 1, count = std::stoi( first ); n <= count; ++n )
      peer.sendOrder( id, second + "-" + std::to_string( n ), "100", FIX::OrdType_LIMIT );
  else if( command == "test-request" ) peer.sendTestRequest( id, first );
  else if( command == "set-next-out" ) session->setNextSenderMsgSeqNum( std::stoi( first ) );
  else if( command == "set-next-in" ) session->setNextTargetMsgSeqNum( std::stoi( first ) );
  else if( command == "reset-on-logon" && ( first == "on" || first == "off" ) ) session->setResetOnLogon( first == "on" );
  else if( command == "reset" ) session->reset();
  else if( command == "logout" ) session->logout( "asked to" );
  else if( command == "logon" ) session->logon();
  else if( command == "state" )
    Event( "state" ).number( "next_out", session->getExpectedSenderNum() )
      .number( "next_in", session->getExpectedTargetNum() ).flag( "logged_on", session->isLoggedOn() ).write();
  else throw std::invalid_argument( "no such command" );
  Event( "done" ).text( "command", line ).write();
  return true;
}

template<typename Endpoint>
int serve( const Options& options ) {
  const FIX::SessionSettings sessionSettings = settings( options );
  Peer peer( options );
  std::unique_ptr<FIX::MessageStoreFactory> stores;
  if( options.store == "file" ) stores.reset( new FIX::FileStoreFactory( sessionSettings ) );
  else stores.reset( new FIX::MemoryStoreFactory );
  EventLogFactory logs;
  Endpoint endpoint( peer, *stores, sessionSettings, logs );
  const FIX::SessionID id( options.beginString, options.sender, options.target );
  useDictionaries( *FIX::Session::lookupSession( id ), options );
  endpoint.start();
  Event( "ready" ).text( "role", options.role ).number( "port", options.port ).write();
  std::string line;
  bool running = true;
  while( running ) {
    if( !std::getline( std::cin, line ) ) _exit( 0 );
    try { running = line.empty() || run( line, peer, id ); }
    catch( const std::exception& error ) { Event( "error" ).text( "command", line ).text( "text", error.what() ).write(); }
  }
  endpoint.stop();
  Event( "stopped" ).write();
  return 0;
}

int serve( const Options& options ) {
  return options.role == "initiator" ? serve<FIX::SocketInitiator>( options ) : serve<FIX::SocketAcceptor>( options );
}

int check( int result, const char* call ) {
  if( result < 0 ) throw std::system_error( errno, std::generic_category(), call );
  return result;
}

// The rest of a forked child's life.
int grow( int connection ) {
  check( dup2( connection, STDIN_FILENO ), "dup2" );
  check( dup2( connection, STDOUT_FILENO ), "dup2" );
  close( connection );
  std::string line;
  std::getline( std::cin, line );
  std::vector<std::string> flags( 1 );
  for( char c : line )
    if( c == '\t' ) flags.emplace_back();
    else flags.back() += c;
  return serve( parse( flags ) );
}

int nurse( const std::string& name, const std::vector<std::string>& paths ) {
  for( const std::string& path : paths ) dictionary( path );
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  // The first byte stays 0: the name is an abstract one, which is gone with its socket.
  if( name.size() >= sizeof address.sun_path ) throw std::invalid_argument( "the name is too long" );
  name.copy( address.sun_path + 1, name.size() );
  const socklen_t length = offsetof( sockaddr_un, sun_path ) + 1 + name.size();
  const int listener = check( socket( AF_UNIX, SOCK_STREAM, 0 ), "socket" );
  check( bind( listener, reinterpret_cast<const sockaddr*>( &address ), length ), "bind" );
  check( listen( listener, 64 ), "listen" );
  std::signal( SIGCHLD, SIG_IGN );
  Event( "ready" ).text( "nursery", name ).write();
  for( ;; ) {
    pollfd ready[] = { { listener, POLLIN, 0 }, { STDIN_FILENO, POLLIN, 0 } };
    check( poll( ready, 2, -1 ), "poll" );
    if( ready[1].revents ) return 0;
    const int connection = check( accept( listener, nullptr, nullptr ), "accept" );
    if( check( fork(), "fork" ) == 0 ) {
      close( listener );
      return grow( connection );
    }
    close( connection );
  }
}

}

int main( int argc, char** argv ) {
  try {
    const std::vector<std::string> flags( argv + 1, argv + argc );
    if( flags.size() >= 2 && flags[0] == "--nursery" ) return nurse( flags[1], { flags.begin() + 2, flags.end() } );
    return serve( parse( flags ) );
  }
  catch( const std::exception& error ) {
    std::cerr << "quickfix_peer: " << error.what() << std::endl;
    return 2;
  }
}
